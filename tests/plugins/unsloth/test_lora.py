"""unsloth/lora.py: which adapters Unsloth is asked for, and which it is not."""

from __future__ import annotations

from typing import Any

import pytest
from peft import IA3Config, LoraConfig

from framework import FrameworkError
from framework_plugins.hf.load.adapters import Dora, Lora, RsLora
from framework_plugins.hf.settings.config import DoraAdapterConfig, LoraAdapterConfig, RsLoraAdapterConfig
from framework_plugins.unsloth.lora import lora_settings


def test_all_that_a_run_can_set_is_handed_on() -> None:
    settings = lora_settings(Lora(LoraAdapterConfig(r=8, lora_alpha=4, target_modules=["v_proj", "q_proj"])).config())
    assert settings == {
        "r": 8, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"], "bias": "none",
        "use_rslora": False, "modules_to_save": None,
    }  # fmt: skip
    assert lora_settings(Lora(LoraAdapterConfig()).config())["target_modules"] == "all-linear"


def test_its_kin_are_reported_by_their_switch() -> None:
    assert lora_settings(Dora(DoraAdapterConfig()).config())["use_dora"] is True
    assert lora_settings(RsLora(RsLoraAdapterConfig()).config())["use_rslora"] is True


def test_an_adapter_that_names_its_base_is_the_same_adapter() -> None:
    config = LoraConfig(r=4, base_model_name_or_path="acme/base", revision="v1", inference_mode=True)
    assert lora_settings(config)["r"] == 4


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (LoraConfig(rank_pattern={"q_proj": 2}), "sets rank_pattern, which Unsloth does not make: set trainer=hf"),
        (IA3Config(), "is of the kind PeftType.IA3, which Unsloth does not make: set trainer=hf"),
    ],
)
def test_others_are_refused(config: Any, told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        lora_settings(config)
