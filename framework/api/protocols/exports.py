"""What makes files from a trained model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.plan import Plan
    from framework.api.protocols.model import Model
    from framework.api.records import Artifact, Prompt, Report

__all__ = ["ExportContext", "Exporter"]


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
    """An option of `exporter=`.

    Attributes:
        after: the exporters whose output it uses: it runs after those of them that are selected.
        reusable: its artifacts depend only on the weights and the config: it is not called again if an earlier export
            of the run made them from the same ones, and they are still complete.
    """

    after: tuple[str, ...] = ()
    reusable: bool = False

    def check(self, model: Model, plan: Plan) -> None:  # noqa: ARG002 - most can export any model
        """Check before the training whether the export of this model will succeed.

        Raises:
            FrameworkError: it will fail.
        """
        return

    @abstractmethod
    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the artifacts below `context.run_dir` and name them."""
