"""Problems of the settings of an adapter, and of fields of the libraries, before a model is opened. Without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from framework.api.plan import Plan
from framework.api.text import as_text, nearest
from framework_plugins.hf.settings.config import ALL_LINEAR, PLAIN, Bias, LoraAdapterConfig, NoQuantizationConfig
from framework_plugins.hf.settings.library_fields import MOVED, STARTS, SFTArgs, changed

PACKED = re.compile(
    r"\w+_proj|c_attn|c_proj|c_fc|query_key_value|dense\w*|fc[12]|(self_)?(attn|attention)|mlp|feed_forward"
)
"""Names of linear layers and of modules that consist of them, the output head aside: a quantization stores them in few
bits. Models with other names are refused when they are opened."""


def problems(plan: Plan, config: LoraAdapterConfig) -> Iterator[str]:
    """Say what of an adapter cannot be made, a sentence each."""
    targets = config.target_modules
    if ALL_LINEAR in targets and len(targets) > 1:
        yield f"adapter.target_modules=[{','.join(targets)}]: {ALL_LINEAR} selects every layer: give it alone"
    for name, patterns in (
        ("target_modules", [each for each in targets if not PLAIN.fullmatch(each)]),
        ("args.exclude_modules", [each for each in config.args.exclude_modules if not PLAIN.fullmatch(each)]),
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
    yield from _start(config)
    for saved in config.modules_to_save:
        if saved in targets:
            yield f"adapter.modules_to_save=[{saved}]: adapter.target_modules adapts it too: take it out of one of them"
        elif PACKED.fullmatch(saved) and targets == [ALL_LINEAR]:
            yield (
                f"adapter.modules_to_save=[{saved}]: adapter.target_modules=[{ALL_LINEAR}] adapts it too: name the "
                "layers to adapt"
            )
        elif PACKED.fullmatch(saved) and not isinstance(plan.quantization.config, NoQuantizationConfig):
            yield (
                f"adapter.modules_to_save=[{saved}]: quantization={plan.quantization.component.name} stores it in few "
                "bits, which cannot be trained: set quantization=none, or adapt it, adapter.target_modules"
            )
    group = plan.launch.config.group()
    if group and group.sharded and (config.modules_to_save or config.bias is not Bias.none):
        what = "modules_to_save" if config.modules_to_save else f"bias={config.bias.value}"
        yield f"adapter.{what} cannot be cut into pieces by launch={plan.launch.component.name}: set launch=ddp"


def _start(config: LoraAdapterConfig) -> Iterator[str]:
    """Check how the matrices begin: peft takes any word, and begins with some as with true."""
    start = config.args.init_lora_weights
    place = f"adapter.args.init_lora_weights={as_text(start)}"
    if any(isinstance(start, type(each)) and start == each for each in STARTS):
        if start == "orthogonal" and config.r % 2:
            yield f"{place} needs an even adapter.r, not {config.r}"
        return
    if str(start).partition("_")[0] in MOVED:
        yield (
            f"{place} changes the base that the verdict and the exports compare with, or reads rows first: set "
            "true, gaussian or orthogonal"
        )
        return
    names = [as_text(each) for each in STARTS]
    close = nearest(str(start), names)
    hint = f". Did you mean '{close[0]}'?" if close else ""
    yield f"{place} must be one of {', '.join(names)}{hint}"


def loader_problems(plan: Plan, args: SFTArgs, workers: int) -> Iterator[str]:
    """Say what of the loader of rows cannot be as it is asked for, a sentence each."""
    asked = [
        f"trainer.args.{name}={as_text(value)}"
        for name, value in changed(args).items()
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
