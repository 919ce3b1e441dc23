"""Private names of libraries: all that the source uses are in one table, and each is there with the same parameters."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

from tests.support import sources

ROOT = Path(__file__).parents[2]
UNDOCUMENTED = ("transformers.core_model_loading", "transformers.conversion_mapping", "peft.tuners.lora.layer")
"""Modules without an underscore that no documentation names."""
OUR_ROOMS = ("framework", "framework_plugins", "hydra_plugins", "tests", "benchmarks")


LORA_READ = ("base_layer", "active_adapters", "disable_adapters", "merged", "lora_A", "lora_B", "scaling")
LORA_MERGED = ("lora_variant", "merged_adapters", "get_delta_weight")
TABLE: dict[str, tuple[str, ...] | None] = {
    "transformers.modeling_utils:PreTrainedModel._supports_flash_attn": None,
    "transformers.utils.chat_template_utils:_compile_jinja_template": ("chat_template",),
    "transformers.configuration_utils:PreTrainedConfig._attn_implementation": None,
    "transformers.core_model_loading:rename_source_key": (
        "source_key",
        "weight_renamings",
        "weight_converters",
        "base_model_prefix",
        "meta_state_dict",
    ),
    "transformers.core_model_loading:Concatenate": None,
    "transformers.core_model_loading:MergeModulelist": None,
    "transformers.core_model_loading:WeightConverter": None,
    "transformers.core_model_loading:ConversionOps": None,
    "transformers.integrations.moe:_grouped_mm": ("input", "weight", "offs"),
    "transformers.models.qwen3_moe.modeling_qwen3_moe:Qwen3MoeExperts._apply_gate": None,
    "transformers.quantizers.quantizer_bnb_4bit:Bnb4BitHfQuantizer._process_model_before_weight_loading": (
        "model",
        "device_map",
    ),
    "transformers.core_model_loading:WeightRenaming": None,
    "transformers.conversion_mapping:get_model_conversion_mapping": ("model",),
    "transformers.core_model_loading:revert_weight_conversion": ("model", "state_dict"),
    "transformers.core_model_loading:dot_natural_key": ("s",),
    "torch.nn.modules.dropout:_DropoutNd": None,
    "peft:LoraConfig._register_custom_module": ("mapping",),
    "peft.tuners.lora.layer:Linear": None,
    "peft.tuners.lora.layer:LoraLayer": None,
    "peft.tuners.lora.layer:ParamWrapper": None,
    "lm_eval.api.model:TemplateLM._loglikelihood_tokens": ("requests",),
    "torch:_softmax_backward_data": None,
    "torch:_dynamo": None,
    "torch.nn:Module._compiled_call_impl": None,
    "torch:Tensor._version": None,
    "hydra.core.utils:JobReturn._return_value": None,
    "hydra._internal.defaults_list:DefaultsList": None,
    "hydra._internal.utils:get_args_parser": (),
    "hydra._internal.core_plugins.file_config_source:FileConfigSource": None,
    "hydra._internal.core_plugins.importlib_resources_config_source:ImportlibResourcesConfigSource": None,
    "hydra._internal.core_plugins.basic_sweeper:BasicSweeperConf": None,
    "hydra._internal.core_plugins.bash_completion:BashCompletion": None,
    "hydra.plugins.completion_plugin:CompletionPlugin._query": ("config_name", "line"),
    "omegaconf:DictConfig._get_node": (
        "key",
        "validate_access",
        "validate_key",
        "throw_on_missing_value",
        "throw_on_missing_key",
    ),
    "omegaconf:ListConfig._metadata": None,
    "argparse:ArgumentParser._actions": None,
    "argparse:ArgumentParser._get_option_tuples": ("option_string",),
}
"""The private names that the source uses, by module; of a function the parameters, without `self`."""
ELSEWHERE = {
    "_exit": "os._exit is in the documentation of Python",
    "_trial_id": "optuna's FrozenTrial; tests/plugins/sweeps prunes with it",
    "_set_vocab_none": "llama.cpp's converter, as _set_vocab_gpt2",
    "_set_vocab_gpt2": "llama.cpp's converter; tests/plugins/exports/gguf/convert converts with it",
}
"""Names that no module of the base installation has; the tests named here fail without them."""


def last(private: str) -> str:
    """Return a name without what it is in."""
    return re.split(r"[.:]", private)[-1]


def value_of(private: str) -> Any:
    """Return what the name stands for; an attribute of instances is looked up on one."""
    module_name, _, name = private.partition(":")
    module = importlib.import_module(module_name)
    if name in INSTANCES:
        return getattr(INSTANCES[name](module), last(private))
    return reduce(getattr, name.split("."), module)


@cache
def distributions_of() -> Mapping[str, list[str]]:
    return packages_distributions()


INSTANCES: dict[str, Any] = {
    "PreTrainedConfig._attn_implementation": lambda module: module.PreTrainedConfig(),
    "JobReturn._return_value": lambda module: module.JobReturn(),
    "Tensor._version": lambda module: module.ones(1),
    "ListConfig._metadata": lambda module: module.ListConfig([]),
    "ArgumentParser._actions": lambda module: module.ArgumentParser(),
}


@pytest.mark.parametrize("private", TABLE)
def test_a_private_name_is_there_with_its_parameters(private: str) -> None:
    library = re.split(r"[.:]", private)[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    package = distributions_of().get(library, [""])[0]
    release = f"{library} {version(package)}" if package else "this Python"
    where, parameters = ", ".join(sorted({file for name, file in uses() if name == last(private)})), TABLE[private]
    try:
        value = value_of(private)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{release} has no {private} any more, which {where} needs: {error}")
    if parameters is not None:
        found = [name for name in inspect.signature(value).parameters if name != "self"]
        # What comes behind those that are passed may grow.
        assert tuple(found[: len(parameters)]) == parameters, (
            f"{release}: the parameters of {private} are {found}, and {where} counts on {parameters}"
        )


def test_a_lora_layer_of_peft_has_what_is_read_of_it() -> None:
    import peft
    import torch

    body = torch.nn.Sequential(torch.nn.Linear(4, 4))
    (layer,) = peft.get_peft_model(body, peft.LoraConfig(target_modules=["0"])).base_model.model
    missing = [name for name in (*LORA_READ, *LORA_MERGED) if not hasattr(layer, name)]
    assert not missing, (
        f"peft {peft.__version__}: a LoRA layer has no {missing}, which hf/fused_layers/low_rank.py or "
        "hf/generate/merged.py reads"
    )


def test_every_private_name_that_the_source_uses_is_in_the_table() -> None:
    listed, used = {*map(last, TABLE)}, {name for name, _ in uses()}
    new = sorted({(name, file) for name, file in uses() if name not in listed and name not in ELSEWHERE})
    assert not new, "private names of libraries: use a public one, or add it to TABLE above"
    assert not listed - used, "nothing uses them any more: take them out of TABLE above"
    assert set(ELSEWHERE) <= used


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax trees of the source by their paths."""
    files = sorted(file for folder in ("framework", "plugins") for file in (ROOT / folder).rglob("*.py"))
    return {str(file.relative_to(ROOT)): sources.tree(file) for file in files}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def own_names() -> set[str]:
    """Return the private names that the source defines itself, overrides of those of a library left out."""
    own = set()
    for tree in trees().values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    own.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                    own.add(name)
    return own - {*map(last, TABLE)}


@cache
def uses() -> Sequence[tuple[str, str]]:
    """Return each private name of a library with the file that uses it: imported, read, or overridden."""
    return [*_uses()]


def _uses() -> Iterator[tuple[str, str]]:
    for file, tree in trees().items():
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr=name) if is_private(name) and name not in own_names():
                    yield name, file
                case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                    is_private(name) and name not in own_names()
                ):
                    yield name, file
                case ast.ImportFrom(module=str(module), names=names, level=0) if not is_ours(module):
                    hidden = module in UNDOCUMENTED or any(map(is_private, module.split(".")))
                    yield from ((each.name, file) for each in names if hidden or is_private(each.name))
                case ast.ClassDef():
                    yield from ((name, file) for name in overridden(node, tree))


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in {*OUR_ROOMS, "__future__"}


def overridden(made: ast.ClassDef, tree: ast.Module) -> Iterator[str]:
    """Yield the private methods of a class that a class of a library, from which it inherits, has too."""
    methods = [node.name for node in made.body if isinstance(node, ast.FunctionDef) and is_private(node.name)]
    if not (methods and made.bases):
        return
    imported = {
        each.asname or each.name: (node.module, each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for each in node.names
    }
    for base in made.bases:
        name = ast.unparse(base)
        if name.startswith("argparse."):
            imported[name] = ("argparse", name.partition(".")[2])
        if name not in imported:
            continue
        module, attribute = imported[name]
        try:
            parent = getattr(importlib.import_module(module), attribute)
        except ImportError:  # an extra that is not installed here
            continue
        for kind in inspect.getmro(parent) if inspect.isclass(parent) else ():
            if not is_ours(kind.__module__):
                yield from (method for method in methods if method in vars(kind))
