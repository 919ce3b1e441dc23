"""Problems of `trainer=trl` that the plan shows: fields, classes and settings that TRL does not have. Without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from framework import FrameworkError, Plan, Selection, Stage
from framework.api import Problem, as_text, fields, nearest
from framework_plugins.hf.extend import NO_EFFECT, LoraAdapterConfig
from framework_plugins.trl_trainer import library
from framework_plugins.trl_trainer.config import CLASSES, SETTINGS, TrlTrainerConfig, hf_fields
from framework_plugins.trl_trainer.library import Source

UNSUITED: Mapping[str, str] = {
    "ORPOTrainer": "reads pairs as texts: set trainer=hf method=orpo",
    "CPOTrainer": "reads pairs as texts: set trainer=hf method=cpo",
    "A2POTrainer": "gives rewards the texts of answers alone, and those of a run read their row too: set "
    "trainer.trl_class=RLOOTrainer",
    "SDFTTrainer": "needs a context beside each question, and rows have none: set trainer.trl_class=SDPOTrainer "
    "method=grpo reward=[...], which learns from its own best answers",
    "TPOTrainer": "needs a third answer to each prompt, and pairs have two: set method=dpo "
    "method.loss_type=[sigmoid,sft], and leave trainer.trl_class out",
    "AsyncGRPOTrainer": "needs a server beside the training, and a run has none: set method=grpo, and leave "
    "trainer.trl_class out",
    **dict.fromkeys(
        ("AsyncDistillationTrainer", "ServerDistillationTrainer"),
        "needs a server beside the training, and a run has none: set trainer.trl_class=DistillationTrainer, which "
        "loads its teacher",
    ),
}
"""Trainers of TRL that want what a run does not have."""
READING = ("pad_token", "eos_token")
"""Fields of RewardConfig with which a score would be read elsewhere than where the trained model is used."""
OF_OBJECTIVE = frozenset({"beta", "loss_type", "loss_weights"})
"""Settings of a method that have another meaning, or another default, in a class with another objective."""
HF = "or set trainer=hf"


def method_of(source: Source) -> str:
    """Return the method whose rows a trainer of TRL learns from."""
    if library.rewarded(source):
        return "grpo"
    if library.gives_scores(source):
        return "dpo"
    families = library.families(source)
    return next((name for name in ("dpo", "kto") if CLASSES[name] in families), "sft")


def trainer_source(plan: Plan) -> Source | None:
    """Return the class that trains; None if another package has it.

    Raises:
        FrameworkError: TRL has none for the method, or none of this name.
    """
    config: TrlTrainerConfig = plan.trainer.config
    name, method = config.trl_class, plan.method.component.name
    if name is None and method not in CLASSES:
        raise FrameworkError(
            f"method={method}: trainer=trl has classes for method={'|'.join(CLASSES)}: choose one of these, {HF}, "
            f"which has method={method}"
        )
    return library.find(name or CLASSES[method])


def problems(plan: Plan) -> Iterator[Problem]:
    """Yield the problems of a plan whose trainer is TRL's."""
    config: TrlTrainerConfig = plan.trainer.config
    method, place = plan.method.component.name, ("method" if config.trl_class is None else "trainer.trl_class")
    if not config.answers():
        yield from _scoring_problems(plan)
    if Stage.train not in plan.intended_stages and plan.stages != (Stage.plan,):
        return
    if not plan.loss.config.plain:
        name = plan.loss.component.name
        yield Problem(
            f"loss={name}: trainer=trl has the losses of TRL, trainer.args.loss_type: leave it out, {HF}", ("loss",)
        )
    if plan.launch.config.group():
        yield Problem(
            f"launch={plan.launch.component.name}: trainer=trl trains in one process: set launch=single, {HF}",
            ("launch",),
        )
    for group, usual, reason in (
        ("sampler", "shuffled", "TRL orders the rows itself"),
        ("rollout", "model", "TRL draws answers itself, trainer.args.use_vllm with vLLM"),
    ):
        option = getattr(plan, group).component.name
        for key in [f"{group}={option}"] if option != usual else _changed(getattr(plan, group), group):
            yield Problem(f"{key}: {reason}: leave it out, {HF}", (key.partition("=")[0],))
    try:
        source = trainer_source(plan)
        if source is None:
            return
        names, parameters = library.fields_of(library.config_of(source)), library.parameters(source)
    except FrameworkError as error:
        yield Problem(str(error), (place,))
        return
    option = f"trainer.trl_class={source.name}" if config.trl_class else f"method={method}"
    if refusal := UNSUITED.get(source.name):
        yield Problem(f"{option}: it {refusal}", (place,))
        return
    if (wanted := method_of(source)) != method:
        rewards = " and reward=[...]" if wanted == "grpo" else ""
        yield Problem(
            f"{option} learns from the rows of method={wanted}: set method={wanted}{rewards}", (place, "method")
        )
        return
    yield from _args(plan, source, names)
    for name in config.init.keys() - parameters.keys():
        close = nearest(name, parameters)
        hint = f": did you mean trainer.init.{close[0]}?" if close else f": it takes {', '.join(parameters) or 'none'}"
        yield Problem(f"trainer.init.{name} is not an argument of TRL's {source.name}{hint}", (f"trainer.init.{name}",))
    for name, required in parameters.items():
        if required and name not in config.init:
            yield Problem(
                f"{option} needs {name}, which a run does not have: set trainer.init.{name}=ID if it takes an id or a "
                "folder, or choose another class",
                (place,),
            )
    yield from _method_settings(plan, source, names)


def _scoring_problems(plan: Plan) -> Iterator[Problem]:
    """Name what of a plan cannot be with a model that gives scores."""
    option, args = "trainer.trl_class=RewardTrainer", plan.trainer.config.args
    adapter, usual = plan.adapter.config, LoraAdapterConfig()
    if plan.evaluator:
        yield Problem(
            f"{option} trains a model that gives scores, and evaluator=[{','.join(plan.evaluator)}] asks for answers: "
            "set evaluator=[]; held-out pairs are measured without",
            ("evaluator",),
        )
    for name in plan.exporter:
        if name != "adapter":
            yield Problem(
                f"exporter={name} is for models that answer, and {option} trains one that gives scores: set "
                "exporter=[adapter], which peft opens with AutoPeftModelForSequenceClassification",
                ("exporter",),
            )
    if not isinstance(adapter, LoraAdapterConfig):
        yield Problem(f"{option} trains an adapter with a head: set adapter=lora", ("adapter",))
    elif adapter.starts_from() or adapter.args.init_lora_weights != usual.args.init_lora_weights:
        name = "start" if adapter.starts_from() else "args.init_lora_weights"
        yield Problem(f"{option} begins with a new adapter: leave adapter.{name} out", (f"adapter.{name}",))
    for key, value in (
        ("quantization", plan.quantization.component.name != "none"),
        ("model.new_tokens", plan.model.config.new_tokens),
    ):
        if value:
            yield Problem(f"{option} was not tried with {key}: leave it out", (key,))
    for name in READING:
        if name in args:
            yield Problem(f"trainer.args.{name} does not suit {option}: leave it out", (f"trainer.args.{name}",))


def shared_names(plan: Plan, source: Source, names: frozenset[str]) -> frozenset[str]:
    """Return the settings of the method that are fields of the class and mean the same there."""
    shared = names & {part.name for part in fields(plan.method.component.schema)}
    usual = CLASSES.get(plan.method.component.name) in library.families(source)
    return shared if usual else shared - OF_OBJECTIVE


def _args(plan: Plan, source: Source, names: frozenset[str]) -> Iterator[Problem]:
    method, trainer = shared_names(plan, source, names), source.name
    for name, value in plan.trainer.config.args.items():
        key = f"trainer.args.{name}"
        setting = f"method.{name}" if name in method else SETTINGS.get(name)
        if setting is not None:
            yield Problem(f"{key} is {setting} here: set that, and leave {key} out", (key,))
        elif reason := NO_EFFECT.get(name):
            yield Problem(f"{key}={as_text(value)} changes nothing with trainer=trl: {reason}", (key,))
        elif name in hf_fields() - names:
            yield Problem(f"{key} is a setting of trainer=hf, trainer.{name}: leave it out, {HF}", (key,))
        elif name not in names:
            close = nearest(name, names)
            hint = f" Did you mean trainer.args.{close[0]}?" if close else ""
            yield Problem(f"{key}={as_text(value)}: TRL's {trainer} has no field {name}.{hint}", (key,))


def _method_settings(plan: Plan, source: Source, names: frozenset[str]) -> Iterator[Problem]:
    """Name the settings of the method that are changed, and that the class does not have."""
    for setting in _changed(plan.method, "method"):
        key, _, value = setting.partition("=")
        name = key.removeprefix("method.")
        if name not in names:
            yield Problem(f"{setting}: TRL's {source.name} has no such field: leave it out, {HF}", (key,))
        elif name not in shared_names(plan, source, names):
            advice = f"set trainer.args.{name}={value}"
            yield Problem(f"{setting}: TRL's {source.name} has a {name} of its own: {advice}", (key,))


def _changed(choice: Selection, group: str) -> Iterator[str]:
    """Give the settings of an option that are not as usual, with their values."""
    usual = choice.component.schema()
    for part in fields(choice.component.schema):
        value = getattr(choice.config, part.name)
        if value != getattr(usual, part.name):
            yield f"{group}.{part.name}={as_text(value)}"


def plain(value: Any) -> Any:
    """Return a setting as TRL has it."""
    if isinstance(value, Enum):
        return value.value
    return [plain(part) for part in value] if isinstance(value, list) else value


def method_arguments(plan: Plan, source: Source, names: frozenset[str]) -> dict[str, Any]:
    """Return the settings of the method under the names of TRL that are theirs too."""
    method = plan.method.config
    values = {part.name: plain(getattr(method, part.name)) for part in fields(plan.method.component.schema)}
    if "steps_per_generation" in values:  # TRL counts passes
        values["steps_per_generation"] *= plan.training.gradient_accumulation_steps
    return {name: value for name, value in values.items() if name in shared_names(plan, source, names)}
