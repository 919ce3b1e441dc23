"""The plan: the one value that every stage of a run reads. No stage sees a DictConfig.

`framework.plan.make` makes it from a config. Plugins read it: `plan.training.learning_rate`,
`plan.model.component.name`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from framework.api.component import GROUPS
from framework.api.fields import as_text, fields
from framework.api.protocols.sources import Adapter, Start
from framework.api.records import Measure, Verdict
from framework.api.run_folder import RunFolder, check_weights
from framework.api.schema import Affects, PassCost, RunConfig, RunSettings, Stage, TrainerConfig
from framework.api.selection import Selection, affecting
from framework.util.errors import FrameworkError
from framework.util.guard import Guard, short_repr, try_out
from framework.util.hashing import file_sha256, foreign_hash
from framework.util.redact import redact

__all__ = [
    "ExpectedRows",
    "Plan",
]

TEXT_PERPLEXITY = "text_perplexity"
"""The perplexity of held-out texts, for a method that learns texts."""
START_HASH = "SHA-256 of adapter.start"
"""What of the adapter that a training starts from makes it another training, beside the settings."""
FLOAT32_MAX = (2 - 2**-23) * 2.0**127
CHECKED_FACTORS = 1000
"""Steps whose factor on the learning rate is checked before the first one."""


@dataclass(frozen=True)
class ExpectedRows:
    """The fingerprint of the rows that a rerun expects; if `required`, other rows are refused."""

    fingerprint: str
    run: str
    required: bool


@dataclass(frozen=True)
class Judging:
    """`verdict.primary`, and the metrics that may decide else."""

    primary: str | None
    metrics: Mapping[str, Selection]


@dataclass(frozen=True)
class Plan:
    """A checked run. `config` is the resolved config as plain values, `overrides` are the overrides that made it."""

    settings: RunSettings
    """Those outside the options: `settings.verdict`, `settings.plan.gpu`."""
    run_dir: Path
    """Where the run works: on this machine, also if `run_dir` of the config is on a store."""
    model: Selection
    quantization: Selection
    adapter: Selection
    data: Selection
    format: Selection
    audit: Mapping[str, Selection]
    method: Selection
    loss: Selection
    trainer: Selection
    optimizer: Selection
    schedule: Selection
    sampler: Selection
    callback: Mapping[str, Selection]
    launch: Selection
    rollout: Selection
    reward: Mapping[str, Selection]
    metric: Mapping[str, Selection]
    evaluator: Mapping[str, Selection]
    exporter: Mapping[str, Selection]
    logger: Mapping[str, Selection]
    config: Mapping[str, Any]
    CODE_OF: ClassVar[str] = "the code of"
    """Begins the key of a hash over the code of a component that comes from a file or another package."""
    overrides: tuple[str, ...] = ()
    model_line: str = ""
    decides_line: str = ""
    data_line: str = ""
    """Why a plan by itself knows nothing about the rows; empty if it does, or they come with the data stage."""
    sweep: str = ""
    """The sweep that this run is a trial of, by the name of its folder; empty if it is not a trial."""
    store: str = ""
    """The URL of the run folder on a store, where the run is kept; empty if it is on this machine only."""
    trial: str = ""
    """Which trial of the sweep it is, and the overrides that distinguish it; empty if it is not a trial."""
    expected_rows: ExpectedRows | None = None
    """What the data stage compares its rows with; None unless the run repeats another one."""

    @property
    def name(self) -> str:
        """The name of the run, without secrets: it is in names of files, on pages and in trackers."""
        return self.settings.name

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.settings.seed

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that run, in their order."""
        return tuple(stage for stage in Stage if stage in self.settings.stages)

    @property
    def external_checkpoint(self) -> Path | None:
        """Trained weights outside the run folder, `checkpoint` of the config."""
        return Path(self.settings.checkpoint) if self.settings.checkpoint else None

    @property
    def checkpoint(self) -> Path:
        """Where the trained weights are."""
        return self.external_checkpoint or self.run_dir / RunFolder.CHECKPOINT

    @property
    def set_losses(self) -> dict[str, str]:
        """The validation sets of the data by the name of their loss, `{"eval_loss_orders": "orders"}`."""
        return {f"{Measure.EVAL_LOSS}_{name}": name for name in self.data.config.validation_names()}

    def affecting(self, what: Affects) -> dict[str, Any]:
        """Return the settings that something depends on, by the marks of their fields, as plain values for a hash.

        An option is its name and its settings: `{"seed": 42, "adapter": ["lora", {"r": 16, ...}], ...}`. `config` is
        not fit for a hash: all values that look like secrets are the same in it. The result contains secrets, so never
        write it to a file. A component that comes from a file or another package has a hash over its code, too.

        Args:
            what: one thing, or several: settings that affect any of them are included.
        """
        chosen = {group: getattr(self, group) for group in GROUPS}
        settings = affecting(RunConfig, {**vars(self.settings), **chosen}, what)
        for key, choice in self.selections.items():
            if key.partition(".")[0] not in settings:
                continue
            if code := foreign_hash(choice.component.schema.__module__):
                settings[f"{self.CODE_OF} {key}={choice.component.name}"] = code
            for setting in fields(choice.component.schema):  # such as `./tools.py:Shop`
                value = getattr(choice.config, setting.name) if setting.type.code else None
                file = Path(value.rpartition(":")[0] if isinstance(value, str) else "").expanduser()
                if file.suffix == ".py" and file.is_file():
                    settings[f"{self.CODE_OF} {key}.{setting.name}={value}"] = file_sha256(file)
        if what & (Affects.training | Affects.resume) and (start := self.start(weights=True)):
            settings[START_HASH] = start.sha256
        return settings

    def start(self, *, weights: bool) -> Start | None:
        """Return the trained adapter that this training starts from; None if there is none, or nothing is trained.

        Raises:
            FrameworkError: it is not available.
        """
        if Stage.train not in self.stages or not self.adapter.config.starts_from():
            return None
        adapter: Adapter = self.adapter.create()
        start = adapter.start(weights=weights)
        if weights:
            check_weights(start.folder)
        return start

    @property
    def intended_stages(self) -> tuple[Stage, ...]:
        """The stages that checks are about: all of them if only the plan is asked for, as in the run that it plans."""
        return tuple(Stage) if self.stages == (Stage.plan,) else self.stages

    @property
    def training(self) -> TrainerConfig:
        """The trainer's settings."""
        config: TrainerConfig = self.trainer.config
        return config

    def warmup(self, steps: int) -> int:
        """Return the warm-up steps of a training with this many steps; by default none if the schedule has none."""
        if self.training.warmup_steps is None and not self.schedule.config.warms_up:
            return 0
        return self.training.warmup(steps)

    def rate_factor(self, steps: int) -> Callable[[int], float]:
        """Return the schedule of a training with this many steps: the factor on the learning rate by the steps done.

        Raises:
            FrameworkError: the schedule raises, or gives something else than a number of at least 0.
        """
        schedule, warmup, rate = self.schedule.create(), self.warmup(steps), self.training.learning_rate
        option = f"schedule={self.schedule.component.name}"

        def factor(step: int) -> float:
            with Guard(lambda: f"{option} fails for step {step} of {steps}"):
                multiplier: Any = schedule.factor(step, steps, warmup, rate)
            if not isinstance(multiplier, int | float) or not 0 <= multiplier <= sys.float_info.max:
                text = short_repr(multiplier)
                raise FrameworkError(f"{option} gives {text} for step {step} of {steps}, not a number of at least 0")
            if multiplier * rate > FLOAT32_MAX:
                raise FrameworkError(
                    f"{option} gives {multiplier:g} for step {step} of {steps}: times trainer.learning_rate={rate:g}, "
                    "that is more than fp32 holds"
                )
            return multiplier

        def check() -> None:
            probes = [*range(0, steps, max(1, steps // CHECKED_FACTORS)), steps]
            factors = {step: factor(step) for step in probes}
            for step in reversed(probes):
                if (again := factor(step)) != factors[step]:
                    raise FrameworkError(
                        f"{option} gives {factors[step]!r} and then {again!r} for step {step} of {steps}: it has to "
                        "depend on nothing but its arguments, or an interrupted training does not resume"
                    )

        try_out(option, check)  # not in the middle of the training
        return factor

    @property
    def selections(self) -> dict[str, Selection]:
        """Every selection by its place in the config: `adapter`, `metric.exact_match`."""
        selections: dict[str, Selection] = {}
        for group in GROUPS:
            part = getattr(self, group)
            selections |= (
                {group: part}
                if isinstance(part, Selection)
                else {f"{group}.{key}": selection for key, selection in part.items()}
            )
        return selections

    @property
    def options(self) -> dict[str, str]:
        """The option selected at each place; the config alone does not say `lora` or `dora`."""
        return {key: selection.component.name for key, selection in self.selections.items()}

    @property
    def measured(self) -> tuple[str, ...]:
        """What the evaluators and the method measure besides the metrics, by name."""
        return tuple(name for choice in (*self.evaluator.values(), self.method) for name in choice.config.measures())

    @property
    def cost(self) -> PassCost:
        """What the method takes, with the reference that the loss may need."""
        cost: PassCost = self.method.config.cost()
        reference = self.loss.config.needs_reference and not self.method.config.own_objective
        return dataclasses.replace(cost, more_forwards=cost.more_forwards + reference)

    @property
    def padded_rows(self) -> float:
        """Rows of a group whose rows do not share their prompt, as with `trainer.packing=pad`."""
        options = self.format.config.options() if self.method.config.chooses else 0
        return max(float(self.cost.rows), float(options))

    @property
    def method_line(self) -> str:
        """Say what is learned: the method, the settings that say most of it or were changed, and a loss that it uses.

        Empty for supervised fine-tuning with the loss that a run has if nothing is chosen.
        """
        config = self.method.config
        if not self.training.answers():
            return f"scores, from the rows of method={self.method.component.name}"
        defaults = {field.name: field.default for field in fields(self.method.component.schema)}
        values = {name: getattr(config, name) for name in defaults}
        words = [
            f"{name}={as_text(value)}"
            for name, value in values.items()
            if name in config.described or value != defaults[name]
        ]
        if not config.own_objective and not self.loss.config.plain:
            words.append(f"loss={self.loss.component.name}")
        special = words or config.own_objective or config.samples or config.texts
        return str(redact(" ".join([self.method.component.name, *words]))) if special else ""

    @property
    def judging(self) -> Judging:
        """What chooses the metric that decides. A reward does not judge itself."""
        may_decide = {name: metric for name, metric in self.metric.items() if name not in self.reward}
        return Judging(self.settings.verdict.primary, may_decide)

    def objective_by(self, decides: str) -> str:
        """Return the name of the objective: for `verdict.primary` what decides, or else the validation loss."""
        if self.settings.objective != Verdict.PRIMARY:
            return self.settings.objective
        names = {*self.metric, *self.measured, *self.set_losses}
        return next(
            (name for name in (decides, decides.removesuffix(Measure.WINS)) if name in names), Measure.EVAL_LOSS
        )

    @property
    def is_new_run(self) -> bool:
        """Whether the run starts its folder, or continues from what an earlier run left there."""
        return bool({Stage.plan, Stage.train} & set(self.stages))

    @property
    def restores_weights(self) -> bool:
        """Whether the run evaluates or exports weights that were trained before."""
        return Stage.train not in self.stages and bool({Stage.evaluate, Stage.export} & {*self.stages})

    @property
    def only_exports(self) -> bool:
        """Whether the run only exports what its folder holds: its report and its status stay, with more artifacts."""
        stages = {*self.stages}
        only = Stage.export in stages and stages <= {Stage.plan, Stage.data, Stage.export}
        return only and not self.external_checkpoint

    @property
    def batch(self) -> int:
        """Rows of an optimizer step: those of a pass, times the passes, times the processes that train together."""
        group = self.launch.config.group()
        per_process = self.training.per_device_train_batch_size * self.training.gradient_accumulation_steps
        return per_process * (group.processes if group else 1)
