"""The plan: the one value that every stage of a run reads. Past it there is no DictConfig.

`framework.plan.make` makes it of a config. Plugins read it: `plan.training.learning_rate`,
`plan.model.component.name`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from framework.api.component import GROUPS, Component
from framework.api.schema import HealthConfig, PlanConfig, Stage, TrainerConfig, VerdictConfig

__all__ = [
    "CHECKPOINT",
    "EVAL_LOSS",
    "LOSSES",
    "SCORE",
    "Plan",
    "Selection",
    "as_plain",
]

CHECKPOINT = "checkpoint"
SCORE = "verdict.score"
EVAL_LOSS = "eval_loss"
LOSSES = (EVAL_LOSS, "train_loss")


@dataclass(frozen=True)
class Selection:
    """One chosen option: its component and its settings, an instance of the component's schema."""

    component: Component
    config: Any

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as plain values, secrets among them: for keys, never to be written."""
        return {field.name: as_plain(getattr(self.config, field.name)) for field in dataclasses.fields(self.config)}

    def create(self) -> Any:
        """Call the factory, importing its module. What it raises says which option it was."""
        try:
            return self.component.load()(self.config)
        except Exception as error:
            error.add_note(f"while making '{self.component.name}' by {self.component.factory}")
            raise

    def check_rows(self, fingerprint: str) -> None:
        """Say whether data with this fingerprint will do; any will, where no earlier run is to be repeated.

        Raises:
            FrameworkError: they will not.
        """


@dataclass(frozen=True)
class Plan:
    """A run that has been checked. `config` is the resolved config as plain values, `overrides` what made it."""

    name: str
    seed: int
    stages: tuple[Stage, ...]
    run_dir: Path
    objective: str
    plan: PlanConfig
    health: HealthConfig
    verdict: VerdictConfig
    model: Selection
    quantization: Selection
    adapter: Selection
    data: Selection
    format: Selection
    audit: Mapping[str, Selection]
    trainer: Selection
    launch: Selection
    metric: Mapping[str, Selection]
    evaluator: Mapping[str, Selection]
    exporter: Mapping[str, Selection]
    logger: Mapping[str, Selection]
    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    model_line: str = ""
    given: Path | None = None
    """Trained weights that lie elsewhere, `checkpoint` of the config."""
    share: bool = True
    """Whether points of a sweep share what is the same for them."""
    sweep: str = ""
    """The sweep that this run is a point of, by the name of its folder; empty where it is none."""

    @property
    def checkpoint(self) -> Path:
        """Where the trained weights lie."""
        return self.given or self.run_dir / CHECKPOINT

    def exact(self, *names: str) -> dict[str, Any]:
        """Return some of the fields as plain values, options with their names, for a hash.

        `config` will not do for that: values that look like secrets are all the same in it. For the same reason none of
        this may be written.
        """
        return {name: as_plain(getattr(self, name)) for name in names}

    @property
    def training(self) -> TrainerConfig:
        """The trainer's settings."""
        config: TrainerConfig = self.trainer.config
        return config

    @property
    def selections(self) -> dict[str, Selection]:
        """Every selection by its place in the config: `adapter`, `metric.exact_match`."""
        found: dict[str, Selection] = {}
        for group in GROUPS:
            part = getattr(self, group)
            found |= (
                {group: part} if isinstance(part, Selection) else {f"{group}.{key}": one for key, one in part.items()}
            )
        return found

    @property
    def options(self) -> dict[str, str]:
        """The option selected at each place; the config alone does not say `lora` or `dora`."""
        return {place: selection.component.name for place, selection in self.selections.items()}

    @property
    def measured(self) -> tuple[str, ...]:
        """What the evaluators measure besides the metrics, by name."""
        return tuple(name for evaluator in self.evaluator.values() for name in evaluator.config.measures())

    @property
    def is_new_run(self) -> bool:
        """Whether the run makes what its folder holds, or goes on from what another one left there."""
        return bool({Stage.plan, Stage.train} & set(self.stages))

    @property
    def batch(self) -> int:
        """Rows of an optimizer step: those of a pass, times the passes, times the processes that train together."""
        group = self.launch.config.group()
        own = self.training.per_device_train_batch_size * self.training.gradient_accumulation_steps
        return own * (group.world if group else 1)


def as_plain(value: Any) -> Any:
    """Return a setting, options with their settings, or a record as JSON can have it: an enum is its name."""
    if isinstance(value, Selection):
        return [value.component.name, value.settings]
    if dataclasses.is_dataclass(value):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): as_plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_plain(part) for part in value]
    return value if isinstance(value, str | int | float | None) else str(value)
