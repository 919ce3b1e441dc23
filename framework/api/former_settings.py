"""Settings that are found elsewhere now, most of `trainer`: what they are called, for messages and for earlier runs.

Run folders that were made before hold `trainer.optim` and its kin in their overrides, their config and the settings of
their checkpoints. They are read as what they are now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from framework.api.text.overrides import as_overrides, override_key

FORMER = (
    "optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "lr_scheduler_type", "lr_scheduler_kwargs",
    "min_learning_rate", "group_by_prefix",
)  # fmt: skip
"""Names that `trainer` had."""
MOVED = dict.fromkeys(("evaluator.prompts.batch_size", "evaluator.lm_eval.batch_size"), "trainer.answers_at_once")
"""Settings that are one now, which an earlier run leaves to the plan."""
NAMED = ("optim_args", "lr_scheduler_kwargs")
"""Those that were named values."""
YOUNGER_GROUPS = {
    "method": "sft", "loss": "cross_entropy", "optimizer": "adamw_torch", "schedule": "linear", "sampler": "shuffled",
    "rollout": "model",
}  # fmt: skip
"""Groups that earlier versions did not have, and what they did: `trainer` had the settings of the last three."""
BETAS = {"adam_beta1": 0.9, "adam_beta2": 0.999, "beta3": 0.9999}
"""The decays that are one list now, with the values that they had by default."""
SCHEDULES = {"cosine_with_min_lr": "cosine", "cosine_warmup_with_min_lr": "cosine_warm_start"}
"""Schedules that had the names of transformers."""
RATES = {"min_lr": "min_learning_rate", "lr_end": "min_learning_rate", "min_lr_rate": "min_lr_ratio"}
"""Arguments of schedules with another name."""


def current_settings(former: Mapping[str, Any]) -> dict[str, Any]:
    """Return former settings of `trainer`, by name, as overrides by key; those of the optimizer's kind only, if known.

    `{"optim": "sgd", "optim_args": {"momentum": 0.9}}` is `{"optimizer": "sgd", "optimizer.momentum": 0.9}`.
    """
    optimizer, schedule = former.get("optim"), former.get("lr_scheduler_type")
    arguments, of_schedule = ({**value} if isinstance(value := former.get(name), Mapping) else {} for name in NAMED)
    optimizer_name = str(optimizer or "adam")
    settings: dict[str, Any] = {} if optimizer is None else {"optimizer": optimizer}
    betas = {name: former[name] for name in BETAS if name in former}
    betas |= {"beta3": arguments.pop("beta3")} if "beta3" in arguments else {}
    if betas and ("adam" in optimizer_name or "ademamix" in optimizer_name or "lion" in optimizer_name):
        three = "beta3" in betas or "ademamix" in optimizer_name
        settings["optimizer.betas"] = [*({**BETAS, **betas}.values())][: 3 if three else 2]
    if "adam_epsilon" in former and ("adam" in optimizer_name or "ademamix" in optimizer_name):
        settings["optimizer.eps"] = former["adam_epsilon"]
    settings |= {f"optimizer.{name}": value for name, value in arguments.items()}
    if schedule is not None:
        settings["schedule"] = SCHEDULES.get(schedule, schedule)
    settings |= {f"schedule.{RATES.get(name, name)}": value for name, value in of_schedule.items()}
    if former.get("min_learning_rate") is not None:
        settings["schedule.min_learning_rate"] = former["min_learning_rate"]
    if "group_by_prefix" in former:
        settings["sampler.group_by_prefix"] = former["group_by_prefix"]
    return settings


def renewed_words(words: Sequence[str]) -> list[str]:
    """Return the overrides of an earlier run with today's names."""
    overrides, former = list[str](), dict[str, Any]()
    for word in words:
        key, _, text = word.partition("=")
        group, _, path = override_key(key).partition(".")
        name, _, below = path.partition(".")
        try:
            parsed = OverridesParser.create().parse_override(word) if group == "trainer" and name in FORMER else None
        except HydraException:  # whoever composes reports it
            parsed = None
        if parsed is None:
            overrides.append(word)
        elif parsed.is_sweep_override():
            overrides += [f"{now}={text}" for now in former_setting(override_key(key), text) or ()]
        else:
            value: Any = {below: parsed.value()} if below else parsed.value()
            former[name] = {**former.get(name, {}), **value} if isinstance(value, dict) else value
    return [*overrides, *as_overrides(current_settings(former))]


def renewed_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the saved config of an earlier run as it would be saved today, and its options in groups that it lacks."""
    trainer = {**section} if isinstance(section := config.get("trainer"), Mapping) else {}
    now = current_settings({name: trainer.pop(name) for name in FORMER if name in trainer})
    options = {group: str(now.pop(group, option)) for group, option in YOUNGER_GROUPS.items() if group not in config}
    data = config.get("data")
    if isinstance(data, Mapping) and "seed" in config:  # which was the seed of the split too
        config = {**config, "data": {"seed": config["seed"], **data}}
    if not options:
        return {**config}, {}
    sections = {
        group: {key.partition(".")[2]: value for key, value in now.items() if key.startswith(f"{group}.")}
        for group in options
    }
    return {**config, "trainer": trainer, **sections}, options


def former_setting(key: str, value: Any) -> dict[str, Any] | None:
    """Return what to set instead of a former setting, by its key; None if it is none.

    Args:
        key: `trainer.optim`, or `trainer.optim_args.momentum`.
        value: what it is set to.
    """
    if key in MOVED:
        return {MOVED[key]: value}
    group, _, path = key.partition(".")
    name, _, below = path.partition(".")
    if group != "trainer" or name not in FORMER:
        return None
    return current_settings({name: {below: value} if below else value})
