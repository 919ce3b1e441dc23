"""What makes files of a trained model."""

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
        checkpoint: the trained weights; they may lie elsewhere, and be another adapter than the plan's.
        config: the resolved config as plain values.
        plan: the run.
        artifacts: what the exporters before this one made, and earlier exports of the same weights.
        prompts: what the run asks before and after.
        report: makes the report as far as it goes: that of the run is made after the exports.
        shared: what an exporter worked out that a later one can use, by a name of its own.
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

    With `reusable = True` it is not asked again where an earlier export of the run made its artifacts of the same
    weights and config, and they are still whole.
    """

    reusable: bool


@runtime_checkable
class CheckedExporter(Protocol):
    """An exporter that can tell before the training whether it will be able to export a model."""

    def check(self, model: Model, plan: Plan) -> None:
        """Look whether the export of this model will succeed.

        Raises:
            FrameworkError: it will fail.
        """
