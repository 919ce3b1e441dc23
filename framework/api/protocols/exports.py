"""What makes files from a trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.plan import Plan
    from framework.api.protocols.model import Model
    from framework.api.records import Artifact, Prompt, Report


def _no_report() -> Report:
    raise LookupError("this context was made without a run: give report=…")


@dataclass(frozen=True)
class ExportContext:
    """What an exporter may use.

    Attributes:
        run_dir: the folder of the run.
        checkpoint: the trained weights; they may be outside the run folder, and another adapter than the plan's.
        config: the resolved config as plain values.
        plan: the run.
        artifacts: what the exporters before this one made, and earlier exports of the same weights.
        prompts: the prompts that the run asks before and after.
        report: makes the report from what is known so far: the report of the run is made after the exports.
        shared: values that an exporter computed for later ones, each under a name of its own.
    """

    run_dir: Path
    checkpoint: Path
    config: Mapping[str, Any]
    plan: Plan
    artifacts: Sequence[Artifact] = ()
    prompts: Sequence[Prompt] = ()
    report: Callable[[], Report] = _no_report
    shared: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Exporter(Protocol):
    """An option of `exporter=`. It may be an `OrderedExporter`, a `ReusableExporter` or a `CheckedExporter` too."""

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the artifacts below `context.run_dir` and name them."""


@runtime_checkable
class OrderedExporter(Protocol):
    """An exporter that uses the output of others: it runs after the selected exporters that `after` names."""

    after: tuple[str, ...]


@runtime_checkable
class ReusableExporter(Protocol):
    """An expensive exporter whose artifacts depend only on the weights and the config.

    With `reusable = True` it is not called again if an earlier export of the run made its artifacts from the same
    weights and config, and they are still complete.
    """

    reusable: bool


@runtime_checkable
class CheckedExporter(Protocol):
    """An exporter that can check before the training whether it will be able to export a model."""

    def check(self, model: Model, plan: Plan) -> None:
        """Check whether the export of this model will succeed.

        Raises:
            FrameworkError: it will fail.
        """
