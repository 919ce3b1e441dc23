"""Config -> `Plan`: the one value that every later stage reads. Past it there is no DictConfig."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, SCMode
from omegaconf.errors import OmegaConfBaseException

from framework.check import Problem, loose_words, problems, refusal
from framework.component import GROUPS, Component
from framework.errors import FrameworkError, one_line, place, unknown
from framework.health.config import HealthConfig
from framework.plugin_file import is_loaded
from framework.plugins import ask, components, leave_out
from framework.redact import redact
from framework.schema import EvaluatorConfig, PlanConfig, Stage, TrainerConfig, VerdictConfig

CHECKPOINT = "checkpoint"
SCORE = "verdict.score"
LOSSES = ("eval_loss", "train_loss")


@dataclass(frozen=True)
class Choice:
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
    model: Choice
    quantization: Choice
    adapter: Choice
    data: Choice
    format: Choice
    audit: Mapping[str, Choice]
    trainer: Choice
    launch: Choice
    metric: Mapping[str, Choice]
    evaluator: Mapping[str, Choice]
    exporter: Mapping[str, Choice]
    logger: Mapping[str, Choice]
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
    def batch(self) -> int:
        """Rows of an optimizer step: those of a pass, times the passes, times the processes that train together."""
        group = self.launch.config.group()
        own = self.training.per_device_train_batch_size * self.training.gradient_accumulation_steps
        return own * (group.world if group else 1)


def make_plan(
    config: DictConfig, *, run_dir: Path | None = None, overrides: tuple[str, ...] = (), sweep: str = ""
) -> Plan:
    """Check a config and freeze it.

    Args:
        config: a composed config.
        run_dir: the folder of a point of a sweep, which the config may not name; default `outputs/<name>/<time>`.
        overrides: the command-line words that made the config; saved with the run.
        sweep: the name of the sweep that the run is a point of.

    Raises:
        FrameworkError: lists every problem that can be told without loading anything, each with the place that set it.
    """
    if found := [*problems(config), *loose_words(config, overrides)]:
        raise refusal([*found, *plan_problems(config, [key for problem in found for key in problem.keys])], overrides)
    plan = dataclasses.replace(_freeze(config, run_dir, overrides), sweep=sweep)
    if found := _problems(plan):
        raise refusal(found, overrides)
    return plan


def check_model(plan: Plan, config: Mapping[str, Any]) -> None:
    """Ask every plugin whether a plan can work with its model, of which config.json is known.

    Raises:
        FrameworkError: lists every problem.
    """
    found = _told("framework_check_model", plan=plan, config=config)
    if found:
        raise refusal(found, plan.overrides)


def plan_problems(config: DictConfig, told: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the plan of a config that is wrong already, as far as that can be told.

    What is missing is filled in for the time being; problems with keys in `told` are left out.
    """
    filled = copy.deepcopy(config)
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        for key in missing:
            OmegaConf.update(filled, key, "to-be-set")
        OmegaConf.resolve(filled)
    except OmegaConfBaseException:  # an interpolation leads nowhere, or what is missing is no text
        return []
    if any(OmegaConf.is_missing(filled, group) for group in GROUPS):
        return []
    chosen = {component.schema for group in GROUPS.values() for component in components(group).values()}
    options = [
        option
        for group in GROUPS.values()
        for option in (filled[group.name].values() if group.several else [filled[group.name]])
    ]
    if any(OmegaConf.get_type(option) not in chosen for option in options):
        return []
    known = {*told, *missing}
    return [problem for problem in _problems(_freeze(filled, None, ())) if not known & set(problem.keys)]


def _freeze(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...]) -> Plan:
    chosen: dict[str, Any] = {}
    for group in GROUPS.values():
        by_schema = {component.schema: component for component in components(group).values()}
        node = config[group.name]
        if group.several:
            chosen[group.name] = {str(key): _choice(by_schema, node[key]) for key in node}
        else:
            chosen[group.name] = _choice(by_schema, node)
    return Plan(
        name=config.name,
        seed=config.seed,
        stages=tuple(stage for stage in Stage if stage in config.stages),
        run_dir=_run_dir(config, run_dir),
        objective=config.objective,
        plan=OmegaConf.to_object(config.plan),
        health=OmegaConf.to_object(config.health),
        verdict=OmegaConf.to_object(config.verdict),
        given=Path(config.checkpoint).expanduser().absolute() if config.checkpoint else None,
        config=_plain(config),
        overrides=overrides,
        share=config.share,
        **chosen,
    )


def _choice(by_schema: Mapping[type, Component], node: DictConfig) -> Choice:
    component = by_schema[OmegaConf.get_type(node)]
    try:
        return Choice(component, OmegaConf.to_object(node))
    except Exception as error:  # of the dataclass itself: a __post_init__ that refuses
        message = f"the settings of '{component.name}' are refused: {one_line(error)}{place(error)}"
        raise FrameworkError(message) from error


def _plain(config: DictConfig) -> Mapping[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(
        config, resolve=True, enum_to_str=True, structured_config_mode=SCMode.DICT
    )
    return redact(_paths_as_text(plain))  # type: ignore[no-any-return]


def as_plain(value: Any) -> Any:
    """Return a setting, or options with their settings, as JSON can have it."""
    if isinstance(value, Choice):
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


def _paths_as_text(value: Any) -> Any:
    """Return a config as JSON can have it: OmegaConf has paths and bytes besides."""
    if isinstance(value, dict):
        return {str(key): _paths_as_text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_paths_as_text(part) for part in value]
    return value if isinstance(value, str | int | float | None) else str(value)


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


def _problems(plan: Plan) -> list[Problem]:
    """Ask the core and every plugin."""
    return [*(Problem.told(text) for text in _own(plan)), *_told("framework_check_plan", plan=plan)]


def _told(hook: str, **arguments: Any) -> list[Problem]:
    """Ask a hook of every plugin for problems."""
    found = []
    for plugin, text in ask(hook, **arguments):
        if isinstance(text, str):
            found.append(Problem.told(text))
        else:
            leave_out(plugin, hook, f"it gives a {type(text).__name__}, no sentence")
    return found


def _measures(config: EvaluatorConfig) -> tuple[str, ...]:
    return config.measures()


def _own(plan: Plan) -> Iterator[str]:
    unread = [path for path in plan.config["plugins"] if not is_loaded(path)]
    if unread:
        yield f"plugins=[{','.join(unread)}] is read before any file: give it on the command line"
    if plan.data.config.mix:
        from framework.data.mix import problems as mix_problems  # noqa: PLC0415 - for those who mix

        yield from mix_problems(plan.data.config.mix, plan.format)
    if plan.given and Stage.train in plan.stages:
        yield (
            f"checkpoint={plan.config['checkpoint']} is evaluated and exported as it is, not trained: "
            "set stages=[evaluate,export,report]"
        )
    from framework.health.problems import plan_problems as health_problems  # noqa: PLC0415 - it imports this module

    measured = [name for choice in plan.evaluator.values() for name in _measures(choice.config)]
    yield from health_problems(plan, measured)
    names = {*plan.metric, *LOSSES, SCORE, *measured}
    if plan.objective not in names and plan.objective in components("metric"):
        chosen = ",".join([*plan.metric, plan.objective])
        yield f"objective={plan.objective} is none of the run's metrics: set metric=[{chosen}]"
    elif plan.objective not in names:
        yield f"objective={plan.objective}: {unknown('metric', plan.objective, names)}"
    elif plan.objective in plan.metric and not plan.evaluator:
        yield f"objective={plan.objective} is measured by an evaluator, and none is chosen: evaluator=[prompts]"
