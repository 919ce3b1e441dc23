"""Every hook of the framework. A plugin implements those it needs and marks them with `hookimpl`.

One hook registers components, the options of all config groups:

    from framework import Component, hookimpl

    @hookimpl
    def framework_components():
        yield Component("polite", PoliteConfig, "acme.metrics:Polite")
        yield Component("card", CardConfig, "acme.card:Card")
"""

# The bodies are docstrings: pluggy reads the signatures, nothing calls these functions.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.api.component import hookspec

if TYPE_CHECKING:
    from framework.api.component import Component
    from framework.api.diagnostic import Diagnostic
    from framework.api.plan import Plan
    from framework.api.problem import Problem
    from framework.api.protocols import TrainingMonitor
    from framework.api.records import Concern, ExportNeed, MemoryReduction, Report, Results, Step, Sweep, Work
    from framework.api.schema import Stage
    from framework.memory import MemorySettings, Shape
    from framework.util.gpus import Gpu


@hookspec
def framework_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """The options that a plugin adds, of any group. The base class of a component's schema says of which.

    A subclass of `ExporterConfig` is an option of `exporter=`, one of `CommandConfig` a command, one of `SpeakerConfig`
    a custom chat backend. The factory gives what the protocol of the group asks for.
    """


@hookspec
def framework_config_paths() -> Iterable[str]:  # type: ignore[empty-body]
    """Config folders to search besides `conf/`, as Hydra writes them: `"pkg://acme.conf"`."""


@hookspec
def framework_check_plan(plan: Plan) -> Iterable[Problem | str]:  # type: ignore[empty-body]
    """Problems of this plan, a sentence and the keys that it is about. A text alone is a problem without keys.

    They are reported together, each with the places that set its keys, before anything is loaded.
    """


@hookspec
def framework_check_model(  # type: ignore[empty-body]
    plan: Plan, config: Mapping[str, Any]
) -> Iterable[Problem | str]:
    """Problems of this plan with its model. `config` is the model's config.json, all that is known.

    They are reported together, in the plan stage: before data are read and weights fetched.
    """


@hookspec
def framework_memory(  # type: ignore[empty-body]
    plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, mean: int, shared: int
) -> Iterable[MemorySettings]:
    """How this plan trains, for the arithmetic of memory: for a plan of one's own trainer, else nothing.

    Of several answers the one from the plugin of the trainer counts: a trainer that is built on `hf` has one from `hf`.

    `gpu` is the one to plan for, None for a CPU; `longest` the tokens of the longest row that may come, `mean` those of
    an average row, which is the longest until the rows are known, and `shared` those with which all rows begin.
    """


@hookspec
def framework_memory_reductions(plan: Plan) -> Iterable[MemoryReduction]:  # type: ignore[empty-body]
    """What would make this plan need less memory, as overrides, the cheapest first."""


@hookspec
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:  # type: ignore[empty-body]
    """Advice on this plan, one sentence each, with the reason. `work` is None until the data are known."""


@hookspec
def framework_export_needs(plan: Plan, shape: Shape) -> Iterable[ExportNeed]:  # type: ignore[empty-body]
    """What exporters of this plan write and hold in memory; one without an answer counts as the trained weights."""


@hookspec
def framework_concerns(plan: Plan, results: Results) -> Iterable[Concern]:  # type: ignore[empty-body]
    """Concerns about the result of a run, flagged or not: forgetting, copying and the like.

    Each is part of the verdict; its harm lowers the score.
    """


@hookspec
def framework_diagnostics() -> Iterable[Diagnostic]:  # type: ignore[empty-body]
    """What `python -m framework doctor` is to look at on this machine, each with the runs that need it."""


@hookspec
def framework_run_started(plan: Plan) -> None:
    """A run begins: its data have been checked and the run folder `plan.run_dir` exists."""


@hookspec
def framework_stage_finished(plan: Plan, stage: Stage, result: Any, seconds: float) -> None:
    """A stage after the plan is complete; `result` is the record that was saved, `seconds` how long it took."""


@hookspec
def framework_run_finished(plan: Plan, report: Report | None) -> None:
    """All requested stages are complete; `report` is None if the report was not among them."""


@hookspec
def framework_run_failed(plan: Plan, error: BaseException) -> None:
    """A run ended with `error`. If that is before `framework_run_started`, the folder holds nothing of this run."""


@hookspec
def framework_training_monitors(plan: Plan) -> Iterable[TrainingMonitor]:  # type: ignore[empty-body]
    """What follows the training of this plan: it is given each log entry and says what is wrong."""


@hookspec
def framework_prune_reasons(plan: Plan, step: Step) -> Iterable[str]:  # type: ignore[empty-body]
    """A validation of the training is complete, `step.eval_loss` is its loss: reasons to prune this run, or nothing.

    A pruned run saves no weights and ends as `pruned`, which is not a failure.
    """


@hookspec
def framework_sweep_finished(folder: Path, sweep: Sweep) -> None:
    """A multirun is over, whatever became of its trials; `sweep.json` lies in `folder`."""
