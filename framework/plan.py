"""Config -> `Plan`: the one value that every later stage reads. Past it there is no DictConfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, SCMode

from framework.component import GROUPS, Component
from framework.errors import FrameworkError, unknown
from framework.plugins import ask, components
from framework.redact import redact
from framework.schema import Stage, TrainerConfig

LOSSES = ("eval_loss", "train_loss")


@dataclass(frozen=True)
class Choice:
    """One chosen option: its component and its settings, an instance of the component's schema."""

    component: Component
    config: Any

    def create(self) -> Any:
        """Call the factory, importing its module."""
        return self.component.load()(self.config)


@dataclass(frozen=True)
class Plan:
    """A run that has been checked. `config` is the resolved config as plain values, `overrides` what made it."""

    name: str
    seed: int
    stages: tuple[Stage, ...]
    run_dir: Path
    objective: str
    model: Choice
    quantization: Choice
    adapter: Choice
    data: Choice
    format: Choice
    trainer: Choice
    launch: Choice
    metric: Mapping[str, Choice]
    evaluator: Mapping[str, Choice]
    exporter: Mapping[str, Choice]
    logger: Mapping[str, Choice]
    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    model_line: str = ""

    @property
    def training(self) -> TrainerConfig:
        """The trainer's settings."""
        config: TrainerConfig = self.trainer.config
        return config


def make_plan(config: DictConfig, *, run_dir: Path | None = None, overrides: tuple[str, ...] = ()) -> Plan:
    """Freeze a checked config.

    Args:
        config: a composed config that `check.check` has passed.
        run_dir: the folder of a point of a sweep, which the config may not name; default `outputs/<name>/<time>`.
        overrides: the command-line words that made the config; saved with the run.

    Raises:
        FrameworkError: lists every problem that can be told without loading anything.
    """
    chosen: dict[str, Any] = {}
    for group in GROUPS.values():
        by_schema = {component.schema: component for component in components(group).values()}
        node = config[group.name]
        if group.several:
            chosen[group.name] = {str(key): _choice(by_schema, node[key]) for key in node}
        else:
            chosen[group.name] = _choice(by_schema, node)
    plan = Plan(
        name=config.name,
        seed=config.seed,
        stages=tuple(stage for stage in Stage if stage in config.stages),
        run_dir=_run_dir(config, run_dir),
        objective=config.objective,
        config=_plain(config),
        overrides=overrides,
        **chosen,
    )
    problems = [*_problems(plan), *(text for _, text in ask("framework_check_plan", plan=plan))]
    if problems:
        raise FrameworkError("\n".join(problems))
    return plan


def _choice(by_schema: Mapping[type, Component], node: DictConfig) -> Choice:
    return Choice(by_schema[OmegaConf.get_type(node)], OmegaConf.to_object(node))


def _plain(config: DictConfig) -> Mapping[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(
        config, resolve=True, enum_to_str=True, structured_config_mode=SCMode.DICT
    )
    return redact(plain)  # type: ignore[no-any-return]


def _run_dir(config: DictConfig, given: Path | None) -> Path:
    if config.run_dir is not None and given is not None:
        message = "run_dir would put all points of a sweep into one folder: set hydra.sweep.dir=FOLDER instead"
        raise FrameworkError(message)
    if config.run_dir is not None:
        return Path(config.run_dir).absolute()
    now = datetime.now().astimezone()
    folder = Path("outputs", config.name, f"{now:%Y-%m-%d_%H-%M-%S}")
    if given is None and folder.exists():  # a run that started in the same second
        folder = folder.with_name(f"{folder.name}-{now:%f}")
    return (given or folder).absolute()


def _problems(plan: Plan) -> list[str]:
    problems = []
    names = {*plan.metric, *LOSSES}
    if plan.objective not in names:
        problems.append(f"objective: {unknown('metric', plan.objective, names)}")
    if plan.objective in plan.metric and not plan.evaluator:
        problems.append(
            f"objective={plan.objective} is measured by an evaluator, and none is chosen: evaluator=[prompts]"
        )
    return problems
