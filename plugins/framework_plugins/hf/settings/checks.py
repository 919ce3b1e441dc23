"""Problems of the settings of an adapter, and of fields of the libraries, before a model is opened. Without torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from framework import Plan
from framework.api import as_text, nearest
from framework.api.training import WORKER
from framework_plugins.hf.settings.config import (
    ALL_LINEAR,
    PLAIN_NAME,
    Bias,
    Experts,
    LoraAdapterConfig,
    NoQuantizationConfig,
)
from framework_plugins.hf.settings.library_fields import INIT_LORA_WEIGHTS, INITS_THAT_MOVE_BASE, SFTArgs, non_default

QUANTIZED_NAMES = re.compile(
    r"\w+_proj|c_attn|c_proj|c_fc|query_key_value|dense\w*|fc[12]|(self_)?(attn|attention)|mlp|feed_forward"
)
"""Names of linear layers and of modules that consist of them, the output head aside: a quantization stores them in few
bits. Models with other names are refused when they are opened."""
OF_ACCELERATE = re.compile(r"ACCELERATE_(?!DISABLE_RICH$|LOG_LEVEL$)\w+|FORK_LAUNCHED")
"""Variables by which accelerate chooses how a training runs."""
SWITCHED_OFF: Mapping[str, tuple[str, ...]] = {
    "ACCELERATE_MIXED_PRECISION": ("no",), "ACCELERATE_DYNAMO_BACKEND": ("no",),
    "ACCELERATE_DYNAMO_MODE": ("default",), "ACCELERATE_TORCH_DEVICE": (),
}  # fmt: skip
"""Values, in lower case, with which `accelerate launch` asks for nothing; of all others "false", "0" and "no"."""


def problems(plan: Plan, config: LoraAdapterConfig) -> Iterator[str]:
    """Say what of an adapter cannot be made, a sentence each."""
    targets = config.target_modules
    if ALL_LINEAR in targets and len(targets) > 1:
        yield f"adapter.target_modules=[{','.join(targets)}]: {ALL_LINEAR} selects every layer: give it alone"
    for name, patterns in (
        ("target_modules", [each for each in targets if not PLAIN_NAME.fullmatch(each)]),
        ("args.exclude_modules", [each for each in config.args.exclude_modules if not PLAIN_NAME.fullmatch(each)]),
        ("rank_pattern", config.rank_pattern),
        ("alpha_pattern", config.alpha_pattern),
    ):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                yield f"adapter.{name}: {pattern} is neither a name nor a regular expression: {error}"
    for name, numbers in (("rank_pattern", config.rank_pattern), ("alpha_pattern", config.alpha_pattern)):
        for key, number in numbers.items():
            if number < 1:
                yield f"adapter.{name}.{key}={number} must be a whole number above 0"
    yield from _initialization(config)
    for saved in config.modules_to_save:
        if saved in targets:
            yield f"adapter.modules_to_save=[{saved}]: adapter.target_modules adapts it too: take it out of one of them"
        elif QUANTIZED_NAMES.fullmatch(saved) and targets == [ALL_LINEAR]:
            yield (
                f"adapter.modules_to_save=[{saved}]: adapter.target_modules=[{ALL_LINEAR}] adapts it too: name the "
                "layers to adapt"
            )
        elif QUANTIZED_NAMES.fullmatch(saved) and not isinstance(plan.quantization.config, NoQuantizationConfig):
            yield (
                f"adapter.modules_to_save=[{saved}]: quantization={plan.quantization.component.name} stores it in few "
                "bits, which cannot be trained: set quantization=none, or adapt it, adapter.target_modules"
            )
    group = plan.launch.config.group()
    whole = {
        "modules_to_save": config.modules_to_save,
        f"bias={config.bias.value}": config.bias is not Bias.none,
        "experts=all": config.experts is Experts.all,
    }
    if group and group.sharded and any(whole.values()):
        what = next(name for name, chosen in whole.items() if chosen)
        yield f"adapter.{what} cannot be cut into pieces by launch={plan.launch.component.name}: set launch=ddp"


def _initialization(config: LoraAdapterConfig) -> Iterator[str]:
    """Check how the matrices begin: peft takes any word, and begins with some as with true."""
    start = config.args.init_lora_weights
    place = f"adapter.args.init_lora_weights={as_text(start)}"
    if any(isinstance(start, type(each)) and start == each for each in INIT_LORA_WEIGHTS):
        if start == "orthogonal" and config.r % 2:
            yield f"{place} needs an even adapter.r, not {config.r}"
        return
    if str(start).partition("_")[0] in INITS_THAT_MOVE_BASE:
        yield (
            f"{place} changes the base that the verdict and the exports compare with, or reads rows first: set "
            "true, gaussian or orthogonal"
        )
        return
    names = [as_text(each) for each in INIT_LORA_WEIGHTS]
    close = nearest(str(start), names)
    hint = f". Did you mean '{close[0]}'?" if close else ""
    yield f"{place} must be one of {', '.join(names)}{hint}"


def environment_problems() -> Iterator[str]:
    """Refuse variables by which accelerate would train differently from what the config says, or end in an error."""
    found = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if OF_ACCELERATE.fullmatch(name) and value.lower() not in SWITCHED_OFF.get(name, ("false", "0", "no"))
    ]
    if found and WORKER not in os.environ:  # a group sets some for its members
        yield (
            f"the environment has {', '.join(found)}: accelerate would train differently from what the config says: "
            f"unset {' '.join(each.partition('=')[0] for each in found)}, and set trainer.dtype, trainer.device or "
            "launch instead"
        )


def loader_problems(plan: Plan, args: SFTArgs, workers: int) -> Iterator[str]:
    """Say what of the loader of rows cannot be as it is asked for, a sentence each."""
    asked = [
        f"trainer.args.{name}={as_text(value)}"
        for name, value in non_default(args).items()
        if name.startswith("dataloader")
    ]
    for place in asked:
        if plan.launch.config.group():
            yield f"{place} is not used by launch={plan.launch.component.name}, whose processes share a step's rows"
        elif not workers:
            yield (
                f"{place} applies to processes that prepare batches, and there are none: set "
                "trainer.dataloader_num_workers=2"
            )
