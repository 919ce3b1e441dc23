"""Problems of the settings of an adapter that show before a model is opened. Without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from framework.api.plan import Plan
from framework_plugins.hf.config import ALL_LINEAR, PLAIN, Bias, LoraAdapterConfig, NoQuantizationConfig

PACKED = re.compile(r"\w+_proj|c_attn|c_proj|c_fc|query_key_value|dense\w*|fc[12]")
"""Names of linear layers, the output head aside: a quantization stores them in few bits."""


def problems(plan: Plan, config: LoraAdapterConfig) -> Iterator[str]:
    """Say what of an adapter cannot be made, a sentence each."""
    targets = config.target_modules
    if ALL_LINEAR in targets and len(targets) > 1:
        yield f"adapter.target_modules=[{','.join(targets)}]: {ALL_LINEAR} takes every layer by itself: give it alone"
    for name, patterns in (
        ("target_modules", [each for each in targets if not PLAIN.fullmatch(each)]),
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
