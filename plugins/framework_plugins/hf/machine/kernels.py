"""Kernels that the chosen model and attention use: whether they are installed, and what their absence costs.

The code of a model in transformers names the package of each function that it also has in plain torch. Kernels that a
plan does not use are not listed.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import model_type_to_module_name
from transformers.utils import import_utils

from framework import FrameworkError, Plan
from framework.api import DiagnosticResult, State, installed, summarize_error
from framework.api.training import ModelSource
from framework_plugins.hf.settings.attention import DISTRIBUTIONS
from framework_plugins.hf.settings.config import Attention, TransformersTrainerConfig

PACKAGE = re.compile(r'use_kernel_func_from_hub_with_fallback\(\s*"\w+",\s*"(\w+)"')
"""How transformers from 5.20 on names the package of a kernel."""
FORMERLY = {
    "fla": re.compile(r"\bis_flash_linear_attention_available\b"),
    "causal_conv1d": re.compile(r"\bis_causal_conv1d_available\b"),
    "mamba_ssm": re.compile(r"\bis_mamba_(2_)?ssm_available\b"),
}
"""How earlier versions ask for it."""
INSTALL = {
    "flash-attn": "pip install flash-attn --no-build-isolation",
    "flash-linear-attention": "pip install flash-linear-attention",
    "causal-conv1d": "pip install causal-conv1d --no-build-isolation",
    "mamba-ssm": "pip install mamba-ssm --no-build-isolation",
    "kernels": f"pip install 'kernels>={import_utils.KERNELS_MIN_VERSION},<{import_utils.KERNELS_MAX_VERSION}'",
    "triton": f"pip install {'triton-windows' if sys.platform == 'win32' else 'triton'}",
}
"""Those without build isolation are compiled against the torch that is installed, which needs CUDA's compiler."""
MXFP4 = "mxfp4"


def flash_attn(plan: Plan | None) -> DiagnosticResult | None:
    """Look at the kernels of `trainer.attention=flash_attention_2`; no other setting uses them."""
    trainer = plan.trainer.config if plan else None
    if not isinstance(trainer, TransformersTrainerConfig) or trainer.attention is not Attention.flash_attention_2:
        return None
    cost = "the run is refused without it"
    return _found("flash-attn", "flash_attn", f"trainer.attention={trainer.attention.value}", cost,
                  ", or set trainer.attention=auto")  # fmt: skip


def fla(plan: Plan | None) -> DiagnosticResult | None:
    """Look at the kernels of linear attention."""
    return _of_model(plan, "fla")


def causal_conv1d(plan: Plan | None) -> DiagnosticResult | None:
    """Look at the kernels of short convolutions."""
    return _of_model(plan, "causal_conv1d")


def mamba_ssm(plan: Plan | None) -> DiagnosticResult | None:
    """Look at the kernels of state spaces."""
    return _of_model(plan, "mamba_ssm")


def hub_kernels(plan: Plan | None) -> DiagnosticResult | None:
    """Look at what fetches kernels from the Hub; of what a run allows, only weights in MXFP4 need it."""
    config = _config(plan)
    if (config.get("quantization_config") or {}).get("quant_method") != MXFP4:
        return None
    cost = "transformers converts the weights to 16 bits while it loads them, which take four times the memory"
    result = _found("kernels", "kernels", f"the weights of this model are in {MXFP4}", cost)
    if result.state is State.ok and not import_utils.is_kernels_available():
        return DiagnosticResult(
            State.broken, f"transformers does not accept this version, so {cost}", result.version, INSTALL["kernels"]
        )
    return result


def triton(plan: Plan | None) -> DiagnosticResult | None:
    """Look at the compiler of the kernels above that are written in Triton."""
    config = _config(plan)
    wants = [DISTRIBUTIONS[name] for name in sorted(wanted(config) & {"fla", "mamba_ssm"})]
    if (config.get("quantization_config") or {}).get("quant_method") == MXFP4:
        wants.append("kernels")
    if not wants:
        return None
    verb = "need" if len(wants) > 1 else "needs"
    return _found("triton", "triton", f"{' and '.join(wants)} {verb} it", "they do not run without it")


def wanted(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the packages with kernels that the code of a model asks for, by its `config.json`."""
    folder = Path(transformers.__file__).parent / "models"
    names = set[str]()
    for settings in (config, config.get("text_config") or {}):
        module = model_type_to_module_name(str(settings.get("model_type", "")))
        file = folder / module / f"modeling_{module}.py"
        if module and file.is_file():
            source = file.read_text(encoding="utf-8")
            names |= {*PACKAGE.findall(source), *(name for name, asks in FORMERLY.items() if asks.search(source))}
    return frozenset(names & DISTRIBUTIONS.keys())


def _config(plan: Plan | None) -> Mapping[str, Any]:
    """Return the model's `config.json`; empty if it is not available, which another check reports."""
    if plan is None:
        return {}
    try:
        source: ModelSource = plan.model.create()
        return source.config_json()
    except FrameworkError:
        return {}


def _of_model(plan: Plan | None, package: str) -> DiagnosticResult | None:
    config = _config(plan)
    if package not in wanted(config):
        return None
    why = f"layers of {config.get('model_type')} use it"
    return _found(DISTRIBUTIONS[package], package, why, "they compute in plain torch: slower, and with more memory")


def _found(distribution: str, module: str, why: str, cost: str, otherwise: str = "") -> DiagnosticResult:
    """Import a package that the plan uses; on a CPU none of them runs."""
    version, fix = installed(distribution), f"{INSTALL[distribution]}{otherwise}"
    if not torch.cuda.is_available():
        return DiagnosticResult(State.off, f"{why} on a GPU; here is none", version or "")
    if version is None:
        return DiagnosticResult(State.off, f"not installed; {why}; without it, {cost}", fix=fix)
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - built for another torch or CUDA, it raises whatever it likes
        again = f"{fix} --force-reinstall --no-deps --no-cache-dir"
        return DiagnosticResult(State.broken, f"{why}, and it cannot be imported: {summarize_error(error)}; {cost}",
                                version, again if not otherwise else fix)  # fmt: skip
    return DiagnosticResult(State.ok, f"can be imported; {why}", version)
