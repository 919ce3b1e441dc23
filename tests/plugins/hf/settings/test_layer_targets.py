"""hf/settings/layer_targets.py: the layers that an adapter changes are those that peft adapts."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

from framework_plugins.hf.settings.config import LoraAdapterConfig
from framework_plugins.hf.settings.layer_targets import ALL_LINEAR, LayerTargets
from framework_plugins.hf.settings.library_fields import LoraArgs

LAYERS = [
    *(f"model.layers.{block}.self_attn.{name}_proj" for block in range(3) for name in "qkvo"),
    *(f"model.layers.{block}.mlp.{name}" for block in range(3) for name in ("up_proj", "down_proj")),
    *(f"model.layers.{block}.mlp.experts.{expert}.up_proj" for block in range(3) for expert in range(2)),
    "transformer.h.1.attn.c_attn", "model.embed_tokens", "lm_head",
]  # fmt: skip
NAMES = ["q_proj", "up_proj", "mlp.up_proj", "c_attn", "model.layers.1.self_attn.q_proj", "lm_head", "proj", "absent"]
EXPRESSIONS = [".*self_attn.(q|v)_proj", r"model\.layers\.[12]\..*", ".*(up|down)_proj", "q_proj|.*v_proj"]
WANTED = st.lists(st.sampled_from([*NAMES, *EXPRESSIONS]), min_size=1, max_size=3)


@given(
    st.one_of(st.just([ALL_LINEAR]), WANTED),
    st.one_of(st.just([]), WANTED),
    st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True)),
    st.lists(st.sampled_from(["lm_head", "mlp", "embed_tokens"]), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_peft_adapts_what_the_plan_counts(
    targets: list[str], excluded: list[str], blocks: list[int] | None, saved: list[str]
) -> None:
    config = LoraAdapterConfig(
        target_modules=targets, layers_to_transform=blocks, modules_to_save=saved,
        args=LoraArgs(exclude_modules=excluded),
    )  # fmt: skip
    chosen = LayerTargets.of_settings(config)
    peft = LoraConfig(**chosen.peft_fields(), modules_to_save=saved)
    assert adapted(chosen) == adapted(LayerTargets.of_peft(peft)) == [*filter(adapted_by(peft), LAYERS)]


def adapted(targets: LayerTargets) -> list[str]:
    return [*filter(targets.adapts, LAYERS)]


def adapted_by(peft: LoraConfig) -> Any:
    """Return whether peft adapts a layer; it replaces `all-linear` by the names of all before it looks."""
    if peft.target_modules == ALL_LINEAR:
        peft.target_modules = ".*"
    return lambda name: bool(check_target_module_exists(peft, name))
