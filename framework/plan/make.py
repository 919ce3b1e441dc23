"""Config -> `Plan`: the one value that every later stage reads.

Past it there is no DictConfig, which would accept new keys and report a missing one far from its cause.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, SCMode

from framework.api.component import GROUPS
from framework.api.plan import Plan
from framework.api.problem import Problem
from framework.api.protocols import Adapter
from framework.api.records import Aspect, Measure, Verdict
from framework.api.schema import FailOn, RunSettings, Stage, TrainerConfig
from framework.api.selection import Selection, as_plain
from framework.api.text.overrides import override_key
from framework.config.check import UnreadableValue, code_problems, problems
from framework.config.compose import config_loader
from framework.config.sources import read_value_sources, refusal
from framework.hooks.local_file import is_loaded
from framework.hooks.manager import Plugins
from framework.hooks.session import current
from framework.hooks.validation import missing_factory
from framework.plan.method_check import method_problems
from framework.rundir.store import mirror
from framework.util import gpus
from framework.util.errors import FrameworkError, is_url, unknown
from framework.util.redact import HIDDEN, redact
from framework.util.versions import installed

HARMS = {FailOn.forgot: Aspect.general, FailOn.copied: Aspect.copying}
"""What an evaluator has to measure for a harm that `verdict.fail_on` names."""
WRITERS, NAMES_OF_FILES = ("exporter.", "logger."), ("folder", "file", "file_name")
"""Options that write into the run folder, and their settings that say under which name."""


def make_plan(
    config: DictConfig,
    *,
    run_dir: Path | None = None,
    overrides: tuple[str, ...] = (),
    sweep: str = "",
    saved: bool = False,
) -> Plan:
    """Check a config and freeze it.

    Args:
        config: a composed config.
        run_dir: the folder of a trial of a sweep, which the config may not name; default `outputs/<name>/<time>`.
        overrides: of the command line; saved with the run.
        sweep: the name of the sweep that the run belongs to.
        saved: whether the settings are those that a run has saved, whose command line named the code that it runs.

    Raises:
        FrameworkError: lists every problem that shows without loading anything, each with the place that set it.
    """
    plugins = current().plugins  # once: commands of plugins call this, by framework.api.program
    errors = list(problems(config))
    # Before anything reads the settings: the hooks below may run what they name. A plan without overrides is made by a
    # program, which may run what it likes.
    if overrides and not saved and (code := list(code_problems(config, overrides))):
        raise refusal([*errors, *code], overrides)
    try:
        plan = dataclasses.replace(_freeze(config, run_dir, overrides, plugins), sweep=sweep)
    except Exception:  # a value is missing or cannot be resolved, or an option has no component
        if not errors:
            raise
        raise refusal(errors, overrides) from None
    if any(isinstance(problem, UnreadableValue) for problem in errors):
        raise refusal(errors, overrides)
    plan_problems = [
        *_plugin_problems(plan.config["plugins"], plugins),
        *_gpu_problems(plan.config["plan"]["gpu"]),
        *_warmup_problems(plan.training),
        *_objective_problems(plan.method, plan.loss),
        *method_problems(plan.method),
        *_reward_problems(plan.method, plan.reward),
        *_gate_problems(plan.settings.verdict.fail_on, plan.intended_stages, plan.evaluator, plugins),
        *_checkpoint_problems(plan.config["checkpoint"], plan.external_checkpoint, plan.stages, plan.intended_stages),
        *_secret_problems(plan.model.config.chat_template_kwargs, plan.selections),
        *_measure_problems(
            plan.settings.objective,
            plan.settings.verdict.primary,
            plan.metric,
            {*plan.set_losses, *plan.measured},
            plan.evaluator,
            plugins,
        ),
        *_hook_problems(plugins, "framework_check_plan", plan=plan),
    ]
    lacking = {key for problem in plan_problems if problem.missing_library for key in problem.keys}
    plan_problems += _unavailable(plan.selections, lacking, plan_only=plan.stages == (Stage.plan,))
    # What a plugin says of a key that is wrong already says no more than the first problem.
    reported = {key for problem in errors for key in problem.keys}
    if errors := [*errors, *(problem for problem in plan_problems if not reported & set(problem.keys))]:
        raise refusal(errors, overrides)
    return plan


def check_model(plan: Plan, config: Mapping[str, Any]) -> None:
    """Ask every plugin whether a plan can work with its model, given the model's config.json.

    Raises:
        FrameworkError: lists every problem.
    """
    errors = _hook_problems(current().plugins, "framework_check_model", plan=plan, config=config)
    if errors:
        raise refusal(errors, plan.overrides)


def _freeze(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...], plugins: Plugins) -> Plan:
    _take_settings_of_start(config, overrides, plugins)
    _take_defaults_of_method(config, overrides, plugins)
    chosen: dict[str, Any] = {}
    for group in GROUPS.values():
        node = config[group.name]
        if group.several:
            chosen[group.name] = {str(key): plugins.selection_of(node[key]) for key in node}
        else:
            chosen[group.name] = plugins.selection_of(node)
    return Plan(
        settings=_settings(config),
        run_dir=_run_dir(config, run_dir),
        store=config.run_dir if config.run_dir is not None and is_url(config.run_dir) else "",
        config=_plain(config),
        overrides=overrides,
        **chosen,
    )


def _settings(config: DictConfig) -> RunSettings:
    """Return the settings outside the options: the GPU has the one name of the table, a checkpoint its whole path."""
    values = {field.name: config[field.name] for field in dataclasses.fields(RunSettings)}
    plain = {
        name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in values.items()
    }
    settings = RunSettings(**plain)
    planned = settings.plan
    return dataclasses.replace(
        settings,
        name=redact(settings.name),  # it is in names of files, on pages and in trackers
        checkpoint=str(Path(settings.checkpoint).expanduser().absolute()) if settings.checkpoint else None,
        plan=dataclasses.replace(planned, gpu=gpus.known_as(planned.gpu or "") or planned.gpu),
    )


def _take_settings_of_start(config: DictConfig, overrides: tuple[str, ...], plugins: Plugins) -> None:
    """Let settings of the adapter that nobody set be those of the trained adapter that the training starts from."""
    chosen = plugins.selection_of(config.adapter)
    if not chosen.config.starts_from():
        return
    adapter: Adapter = chosen.create()
    with suppress(FrameworkError):  # the plugin's check of the plan says why it cannot be read
        start = adapter.start(weights=False)
        defaults, override_keys = chosen.component.schema(), {override_key(word) for word in overrides}
        for name, value in start.settings.items() if not start.merged else ():
            if f"adapter.{name}" not in override_keys and getattr(chosen.config, name) == getattr(defaults, name):
                config.adapter[name] = value


def _take_defaults_of_method(config: DictConfig, overrides: tuple[str, ...], plugins: Plugins) -> None:
    """Let settings of the trainer that nobody set be those that suit the method."""
    method, adapter, trainer = (plugins.selection_of(config[group]) for group in ("method", "adapter", "trainer"))
    defaults, brought = trainer.component.schema(), method.config.training_defaults(adapter.config)
    unset = [name for name, value in brought.items() if getattr(defaults, name) == config.trainer[name] != value]
    if not unset:
        return
    with config_loader() as loader:  # a file may set what the default is
        where = read_value_sources(loader, overrides).where
    for name in unset:
        if not where(f"trainer.{name}"):
            config.trainer[name] = brought[name]


def _plain(config: DictConfig) -> Mapping[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(
        config, resolve=True, enum_to_str=True, structured_config_mode=SCMode.DICT
    )
    # The only form in which a config is saved, exported or logged.
    return redact(as_plain(plain))  # type: ignore[no-any-return]


def _run_dir(config: DictConfig, trial_dir: Path | None) -> Path:
    if config.run_dir is not None and trial_dir is not None:
        raise FrameworkError(
            "run_dir would put all trials of a sweep into one folder: set hydra.sweep.dir=FOLDER instead"
        )
    if config.run_dir is not None:
        return mirror(config.run_dir)
    now = datetime.now().astimezone()
    folder = Path("outputs", redact(config.name), f"{now:%Y-%m-%d_%H-%M-%S}")
    if trial_dir is None and folder.exists():  # a run that started in the same second
        folder = folder.with_name(f"{folder.name}-{now:%f}")
    return (trial_dir or folder).absolute()


def _hook_problems(plugins: Plugins, hook: str, **arguments: Any) -> list[Problem]:
    """Ask a hook of every plugin for problems; a text is one without keys."""
    items = (item for _, item in plugins.ask(hook, Problem, str, **arguments))
    return [item if isinstance(item, Problem) else Problem(str(item)) for item in items]


def _unavailable(selections: Mapping[str, Selection], lacking: Container[str], *, plan_only: bool) -> Iterator[Problem]:
    """Name the options whose code is missing, and those that lack a library, with what installs it.

    A model may be on this machine already, an exporter can do with a part of its extra, and a trainer may work with
    versions that the tests did not run: their own checks know.

    Args:
        selections: by their places.
        lacking: the places of options that lack a library as a plugin says.
        plan_only: whether only the plan is asked for, which can be made if nothing can be trained.
    """
    for name, choice in selections.items():
        if reason := missing_factory(choice.component):
            yield Problem(reason, (name,))
    skipped = {"model", "exporter", *(("quantization", "trainer", "optimizer", "launch") if plan_only else ())}
    extras_by_name = {
        name: choice.component.extras
        for name, choice in selections.items()
        if name.partition(".")[0] not in skipped and name not in lacking
    }
    if not any(extras_by_name.values()):
        return
    from framework.util.requirements import missing, pip_command  # noqa: PLC0415 - urllib.request brings http and ssl

    absent: dict[str, list[str]] = {}
    for name, extras in extras_by_name.items():
        with suppress(ValueError):  # no requirement at all: whoever imports the option says what is wrong
            absent[name] = [extra for extra in extras if missing([extra])]
            if name == "trainer":  # any version will do
                absent[name] = [extra for extra in absent[name] if not all(map(installed, missing([extra])))]
    keys = tuple(name for name, extras in absent.items() if extras)
    if keys:
        needed = tuple(dict.fromkeys(extra for extras in absent.values() for extra in extras))
        options = [*dict.fromkeys(f"{key.partition('.')[0]}={selections[key].component.name}" for key in keys)]
        verb = "needs" if len(options) == 1 else "need"
        text = f"{' and '.join(options)} {verb} {', '.join(missing(needed))}: {pip_command(needed)}"
        yield Problem(text, keys, missing_library=True)


def _objective_problems(method: Selection, loss: Selection) -> Iterator[Problem]:
    """Say why a loss cannot be that of a method."""
    chosen, by = f"loss={loss.component.name}", f"method={method.component.name}"
    if method.config.own_objective:
        if not loss.config.plain:
            yield Problem(
                f"{chosen} has no effect with {by}, which brings its own objective: leave it out", ("loss", "method")
            )
    elif missing_roles := [role.name for role in loss.config.roles if role not in method.config.roles]:
        yield Problem(
            f"{chosen} reads the {' and '.join(missing_roles)} rows of a group, and {by} has none: choose another "
            "loss, or a method with such rows",
            ("loss", "method"),
        )


def _reward_problems(method: Selection, rewards: Mapping[str, Selection]) -> Iterator[Problem]:
    """Say that a method lacks rewards, or that nothing reads those that there are."""
    by = f"method={method.component.name}"
    if method.config.samples and not rewards and not method.config.has_own_reward():
        yield Problem(
            f"{by} learns from the model's own answers and needs something that scores them: set reward=[exact_match]",
            ("method",),
        )
    elif rewards and not method.config.samples:
        yield Problem(
            f"reward=[{','.join(rewards)}] has no effect with {by}, which learns from the answers of the rows: set "
            "method=best_of_n, or leave reward out",
            ("reward", "method"),
        )


def _gate_problems(
    named: Collection[FailOn], stages: Collection[Stage], evaluators: Mapping[str, Selection], plugins: Plugins
) -> Iterator[Problem]:
    """Say that `verdict.fail_on` names what a run of these stages cannot say."""
    if not named or {*stages} <= {Stage.plan, Stage.data}:
        return
    if Stage.report not in stages:
        names = ",".join(option.value for option in named)
        yield Problem(
            f"verdict.fail_on=[{names}] needs the verdict, which the report stage makes: add report to stages",
            ("verdict.fail_on",),
        )
    aspects = {aspect for choice in evaluators.values() for aspect in choice.config.aspects()}
    for name in named:
        if (aspect := HARMS.get(name)) and aspect not in aspects:
            able = [
                component.name
                for component in plugins.components("evaluator").values()
                if aspect in component.schema().aspects()
            ]
            yield Problem(
                f"verdict.fail_on=[{name.value}] would never fail: no evaluator of this run measures it. Add one of "
                f"{', '.join(able)} to evaluator",
                ("verdict.fail_on",),
            )


def _plugin_problems(paths: Collection[str], plugins: Plugins) -> Iterator[Problem]:
    unread = [path for path in paths if not is_loaded(plugins, path)]
    if unread:
        yield Problem(
            f"plugins=[{','.join(unread)}] cannot be set in a file, because plugins are loaded first: give them on the "
            "command line",
            ("plugins",),
        )


def _gpu_problems(gpu: str | None) -> Iterator[Problem]:
    if gpu:
        try:
            gpus.named(gpu)
        except FrameworkError as error:
            yield Problem(str(error), ("plan.gpu",))


def _warmup_problems(training: TrainerConfig) -> Iterator[Problem]:
    steps, ratio = training.warmup_steps, training.warmup_ratio
    if steps is not None and ratio is not None:
        yield Problem(
            f"trainer.warmup_ratio={ratio:g} and trainer.warmup_steps={steps} both say how long the warm-up is: set "
            "one of them to null",
            ("trainer.warmup_ratio", "trainer.warmup_steps"),
        )


def _checkpoint_problems(
    checkpoint: str | None, folder: Path | None, stages: Collection[Stage], intended_stages: Collection[Stage]
) -> Iterator[Problem]:
    if folder and Stage.train in intended_stages:
        yield Problem(
            f"checkpoint={checkpoint} is evaluated and exported, not trained: to train on from it, set "
            f"adapter.start={checkpoint}; to evaluate and export it, stages=[evaluate,export,report]",
            ("checkpoint",),
        )
    if folder and set(stages) != {Stage.report} and not folder.is_dir():
        yield Problem(f"checkpoint={checkpoint}: no such folder", ("checkpoint",))


def _secret_problems(template: Mapping[str, Any], selections: Mapping[str, Selection]) -> Iterator[Problem]:
    for name, value in template.items():
        if (shown := redact({name: value})) != {name: value}:
            yield Problem(
                f"model.chat_template_kwargs.{next(iter(shown))}={HIDDEN} is a secret: the model would learn it with "
                "every row, and every export would contain it. Remove it",
                (f"model.chat_template_kwargs.{next(iter(shown))}",),
            )
    for name, choice in selections.items():
        for setting, value in choice.settings.items() if name.startswith(WRITERS) else ():
            default = getattr(choice.component.schema, setting, None)
            if setting in NAMES_OF_FILES and value != default and redact(value) != value:
                yield Problem(
                    f"{name}.{setting}={HIDDEN} is a secret, and what the run writes would be named after it: choose "
                    "another name",
                    (f"{name}.{setting}",),
                )


def _measure_problems(
    objective: str,
    primary: str | None,
    metrics: Mapping[str, Selection],
    others: Collection[str],
    evaluators: Collection[str],
    plugins: Plugins,
) -> Iterator[Problem]:
    """Say that the verdict or a sweep would go by what no part of the run measures."""
    measured = {*metrics, Measure.EVAL_LOSS, *others}
    judging = measured | {f"{name}{Measure.WINS}" for name, choice in metrics.items() if choice.config.compares}
    if primary is not None and primary not in judging:
        yield Problem(f"verdict.primary={primary}: {unknown('measure', primary, judging)}", ("verdict.primary",))
    names = {*measured, *Measure.LOSSES, Verdict.SCORE, Verdict.PRIMARY}
    if objective not in names and objective in plugins.components("metric"):
        chosen = ",".join([*metrics, objective])
        yield Problem(f"objective={objective} is not one of the run's metrics: set metric=[{chosen}]", ("objective",))
    elif objective not in names:
        yield Problem(f"objective={objective}: {unknown('metric', objective, names)}", ("objective",))
    elif objective in metrics and not evaluators:
        yield Problem(
            f"objective={objective} needs an evaluator, but none is chosen: set evaluator=[prompts]",
            ("objective",),
        )
