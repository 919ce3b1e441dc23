"""What computes a model's layers: its attention, and that of a GPU for rows in a tree; kernels of other layers.

For the plan, which has a config, and for the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

SINKS = "sinks"
"""What transformers calls `load/sink_attention.py`."""
EAGER = "eager"
SINK_FAMILIES = frozenset({"flint", "gpt_oss", "granite_swa", "granitemoe_swa", "hy_v4", "mimo_v2_flash"})
"""Text models with attention sinks for which transformers has no kernel of torch, and takes ours."""
EAGER_FAMILIES = frozenset({
    "big_bird", "bigbird_pegasus", "bloom", "cpmant", "deepseek_v4", "gemma2", "git", "got_ocr2", "gpt_neo",
    "gpt_neox_japanese", "inkling2_loop_text", "inkling2_text", "megatron-bert", "mpt", "mvp", "openai-gpt",
    "prophetnet", "reformer", "rembert", "roformer", "trocr", "vaultgemma", "xglm", "xlm", "xlnet",
})  # fmt: skip
"""Text models for which transformers has none, and computes all scores."""

KERNEL_LAYERS = {"fla": "linear attention", "causal_conv1d": "short convolutions", "mamba_ssm": "state spaces"}
"""Layers that transformers computes by kernels of a package if it is installed, by its module."""
DISTRIBUTIONS = {"fla": "flash-linear-attention", "causal_conv1d": "causal-conv1d", "mamba_ssm": "mamba-ssm"}
"""What to install for it."""


def layer_kernels(modules: Iterable[str]) -> str:
    """Say what computes layers on a GPU by the packages that are installed here; empty without such layers."""
    missing = "in plain torch, slower and with more memory, since {} is not installed here"
    return "; ".join(
        f"{KERNEL_LAYERS[name]} {'by {}' if find_spec(name) else missing}".format(DISTRIBUTIONS[name])
        for name in sorted(modules)
    )


def attention_of_family(family: str) -> str:
    """Return the attention of a model type if torch has none for it; empty if torch's is taken."""
    return SINKS if family in SINK_FAMILIES else EAGER if family in EAGER_FAMILIES else ""


def flex_problem(
    *, requested: str = "", keeps_states: bool = False, needs_masks: bool = False, triton: bool | None = None
) -> str:
    """Say why a GPU does not take FlexAttention with block masks for trees; empty if it does.

    Args:
        requested: the attention that is set, if it is not left to this choice.
        keeps_states: whether some layers keep a state.
        needs_masks: whether the model has windows that only masks say.
        triton: whether it is installed; None: look for it here.
    """
    if requested == SINKS:
        return "since the model has attention sinks"
    if requested:
        return f"as attention={requested} reads it"
    if keeps_states:
        return "since some layers keep a state"
    if needs_masks:
        return "since only its masks have its windows"
    installed = find_spec("triton") is not None if triton is None else triton
    return "" if installed else "since triton is not installed"
