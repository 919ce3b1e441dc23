"""Problems of the settings of an adapter, and of fields of the libraries, before a model is opened. Without torch."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from framework import Plan
from framework.api import Problem, as_text, installed, nearest
from framework_plugins.hf.settings.config import (
    Bias,
    Experts,
    LoraAdapterConfig,
    NoQuantizationConfig,
    TransformersTrainerConfig,
)
from framework_plugins.hf.settings.layer_targets import ALL_LINEAR, PLAIN_NAME
from framework_plugins.hf.settings.library_fields import (
    EVA,
    INIT_LORA_WEIGHTS,
    NOT_STARTS,
    WITHIN_WEIGHTS,
    SFTArgs,
    non_default,
)
from framework_plugins.lib.group_member import WORKER

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


@functools.cache
def _listed_families() -> str:
    """Return the text of the modules in which transformers lists its families; importing them takes seconds."""
    spec = find_spec("transformers")
    folders = [Path(folder, "models", "auto") for folder in (spec and spec.submodule_search_locations) or ()]
    files = (folder / name for folder in folders for name in ("auto_mappings.py", "configuration_auto.py"))
    return "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def unknown_family(model_type: str, written_by: str) -> str:
    """Say that the installed transformers does not know a family, and which version does, as the end of a sentence.

    Args:
        model_type: the name of the family in config.json.
        written_by: the version of transformers that wrote config.json; empty if it does not say.
    """
    version = installed("transformers")
    newer = f"; transformers {written_by} wrote its config.json, so install that version or a newer one"
    fix = newer if written_by not in {"", version} else ": install a newer version"
    return f"transformers {version} does not know model_type={model_type}{fix}"


def model_problems(plan: Plan, model: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse a config.json of a family that the installed transformers does not know, unless it brings its own code."""
    family, listed = model.get("model_type"), _listed_families()
    if not isinstance(plan.trainer.config, TransformersTrainerConfig) or model.get("auto_map") or not listed:
        return
    if isinstance(family, str) and f'"{family}"' not in listed:
        name = plan.model.config.source() or plan.model.component.name
        yield Problem(f"model {name}: {unknown_family(family, str(model.get('transformers_version') or ''))}")


def problems(plan: Plan, config: LoraAdapterConfig) -> Iterator[Problem]:
    """Say which settings of an adapter are invalid, a sentence each."""
    targets = config.target_modules
    if ALL_LINEAR in targets and len(targets) > 1:
        yield Problem(
            f"adapter.target_modules=[{','.join(targets)}]: {ALL_LINEAR} selects every layer: give it alone",
            ("adapter.target_modules",),
        )
    for name, patterns in (
        ("target_modules", [target for target in targets if not PLAIN_NAME.fullmatch(target)]),
        (
            "args.exclude_modules",
            [module for module in config.args.exclude_modules if not PLAIN_NAME.fullmatch(module)],
        ),
        ("rank_pattern", config.rank_pattern),
        ("alpha_pattern", config.alpha_pattern),
    ):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                yield Problem(f"adapter.{name}: {pattern} is neither a name nor a regular expression: {error}")
    for name, numbers in (("rank_pattern", config.rank_pattern), ("alpha_pattern", config.alpha_pattern)):
        for key, value in numbers.items():
            if value < 1:
                yield Problem(
                    f"adapter.{name}.{key}={value} must be a whole number above 0", (f"adapter.{name}.{key}",)
                )
    yield from _initialization(plan, config)
    for saved in config.modules_to_save:
        if saved in targets:
            yield Problem(
                f"adapter.modules_to_save=[{saved}]: adapter.target_modules adapts it too: take it out of one of them",
                ("adapter.modules_to_save",),
            )
        elif QUANTIZED_NAMES.fullmatch(saved) and targets == [ALL_LINEAR]:
            yield Problem(
                f"adapter.modules_to_save=[{saved}]: adapter.target_modules=[{ALL_LINEAR}] adapts it too: name the "
                "layers to adapt",
                ("adapter.modules_to_save",),
            )
        elif QUANTIZED_NAMES.fullmatch(saved) and not isinstance(plan.quantization.config, NoQuantizationConfig):
            yield Problem(
                f"adapter.modules_to_save=[{saved}]: quantization={plan.quantization.component.name} stores it in few "
                "bits, which cannot be trained: set quantization=none, or adapt it, adapter.target_modules",
                ("adapter.modules_to_save",),
            )
    group = plan.launch.config.group()
    start = str(config.args.init_lora_weights)
    uncut = {
        "modules_to_save": config.modules_to_save,
        "bias": config.bias is not Bias.none,
        "experts": config.experts is Experts.all,
        "merge_first": config.merge_first,
        "args.init_lora_weights": start == EVA or WITHIN_WEIGHTS.fullmatch(start),
        "args.trainable_token_indices": plan.model.config.new_tokens,
    }
    values = {"bias": config.bias.value, "experts": "all", "merge_first": "true", "args.init_lora_weights": start}
    if group and group.sharded and (name := next((name for name, is_set in uncut.items() if is_set), "")):
        suffix = f"={values[name]}" if name in values else ""
        yield Problem(
            f"adapter.{name}{suffix} cannot be cut into pieces by launch={plan.launch.component.name}: set launch=ddp",
            (f"adapter.{name}", "launch") if suffix else ("launch",),
        )


def token_problems(plan: Plan) -> Iterator[Problem]:
    """Say what keeps new tokens from being trained, a sentence each."""
    tokens, adapter = plan.model.config.new_tokens, plan.adapter.config
    setting = f"model.new_tokens=[{','.join(tokens)}]"
    if any(not token.strip() for token in tokens):
        yield Problem(f"{setting}: a token is blank: give each some letters, such as <tool>", ("model.new_tokens",))
    if twice := next((token for token in tokens if tokens.count(token) > 1), ""):
        yield Problem(f"{setting}: {twice} is there twice: leave one out", ("model.new_tokens",))
    if not isinstance(adapter, LoraAdapterConfig):
        yield Problem(
            f"{setting} trains rows of the embedding beside an adapter, and adapter={plan.adapter.component.name} has "
            "none: set adapter=lora",
            ("model.new_tokens", "adapter"),
        )
        return
    if adapter.args.trainable_token_indices:
        yield Problem(
            f"{setting}: adapter.args.trainable_token_indices trains rows too: leave it out", ("model.new_tokens",)
        )
    if modules := {"embed_tokens", "lm_head"} & {*adapter.modules_to_save, *adapter.target_modules}:
        yield Problem(
            f"{setting}: {min(modules)} is trained as a whole already: take it out of adapter.modules_to_save",
            ("model.new_tokens",),
        )
    if adapter.start and not adapter.merge_first:
        yield Problem(
            f"{setting}: the adapter of adapter.start={adapter.start} keeps its own tokens: leave "
            "model.new_tokens out, or set adapter.merge_first=true",
            ("model.new_tokens",),
        )


def _initialization(plan: Plan, config: LoraAdapterConfig) -> Iterator[Problem]:
    """Check how the matrices begin: peft takes any word, and begins with some as with true."""
    start = config.args.init_lora_weights
    setting = f"adapter.args.init_lora_weights={as_text(start)}"
    if any(isinstance(start, type(option)) and start == option for option in INIT_LORA_WEIGHTS):
        if start == "orthogonal" and config.r % 2:
            yield Problem(f"{setting} needs an even adapter.r, not {config.r}", ("adapter.args.init_lora_weights",))
        if start == EVA and config.rank_pattern:
            yield Problem(
                f"{setting} gives layers with one input one rank: leave adapter.rank_pattern out",
                ("adapter.args.init_lora_weights",),
            )
        return
    if str(start) in NOT_STARTS:
        yield Problem(
            f"{setting} {NOT_STARTS[str(start)]}. Set true, gaussian, orthogonal, pissa or olora",
            ("adapter.args.init_lora_weights",),
        )
        return
    if WITHIN_WEIGHTS.fullmatch(str(start)):
        if not isinstance(plan.quantization.config, NoQuantizationConfig):
            yield Problem(
                f"{setting} begins with a part of the weights, and quantization={plan.quantization.component.name} "
                "keeps them in few bits, from which no such part can be taken exactly: set quantization=none, or true",
                ("adapter.args.init_lora_weights", "quantization"),
            )
        if plan.adapter.component.name == "dora":
            yield Problem(
                f"{setting} begins with a sum, and adapter=dora scales whole weights: set adapter=lora",
                ("adapter.args.init_lora_weights", "adapter"),
            )
        if config.bias is not Bias.none:
            yield Problem(
                f"{setting} is saved as a sum of two adapters, which has no biases: set adapter.bias=none",
                ("adapter.args.init_lora_weights",),
            )
        return
    names = [as_text(option) for option in (*INIT_LORA_WEIGHTS, "pissa", "pissa_niter_16", "olora")]
    close = nearest(str(start), names)
    hint = f". Did you mean '{close[0]}'?" if close else ""
    yield Problem(f"{setting} must be one of {', '.join(names)}{hint}", ("adapter.args.init_lora_weights",))


def environment_problems() -> Iterator[Problem]:
    """Refuse variables by which accelerate would train differently from what the config says, or end in an error."""
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if OF_ACCELERATE.fullmatch(name) and value.lower() not in SWITCHED_OFF.get(name, ("false", "0", "no"))
    ]
    if variables and WORKER not in os.environ:  # a group sets some for its members
        yield Problem(
            f"the environment has {', '.join(variables)}: accelerate would train differently from what the config "
            f"says: unset {' '.join(variable.partition('=')[0] for variable in variables)}, and set trainer.dtype, "
            "trainer.device or "
            "launch instead"
        )


def loader_problems(plan: Plan, args: SFTArgs, workers: int) -> Iterator[Problem]:
    """Say which settings of the data loader have no effect, a sentence each."""
    settings = {
        f"trainer.args.{name}": value for name, value in non_default(args).items() if name.startswith("dataloader")
    }
    for key, value in settings.items():
        setting = f"{key}={as_text(value)}"
        if plan.launch.config.group():
            yield Problem(
                f"{setting} is not used by launch={plan.launch.component.name}, whose processes share a step's rows",
                (key, "launch"),
            )
        elif not workers:
            yield Problem(
                f"{setting} applies to processes that prepare batches, and there are none: set "
                "trainer.dataloader_num_workers=2",
                (key,),
            )
