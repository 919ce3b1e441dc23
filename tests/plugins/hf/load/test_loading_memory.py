"""The plan knows what a GPU holds while experts are read and packed."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.core_model_loading import MergeModulelist

from benchmarks.memory_fake import MIXTURES, planned_loading
from framework.memory import Shape
from framework.memory.blocks import COUNTED
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.planned_weights import STACKED_FILES
from tests.support.fake_load import fake_load

MIB = 2**20


@pytest.mark.parametrize("name", ["qwen3_30b_a3b", "gpt_oss_20b"])
def test_a_model_of_two_layers_is_loaded_within_5_percent_of_the_plan(name: str) -> None:
    """The experts of the one are single ones in its files, those of the other are whole."""
    config: dict[str, Any] = {**CONFIGS[MIXTURES[name]], "num_hidden_layers": 2}
    config |= {"layer_types": config["layer_types"][:2]} if "layer_types" in config else {}
    taken, (resident, peak) = fake_load(config), planned_loading(Shape.from_config(config))
    assert taken.loaded == pytest.approx(resident, rel=0.01)
    stack = peak - resident
    assert taken.peak - taken.loaded == pytest.approx(stack, rel=0.16)
    assert taken.peak == pytest.approx(peak, rel=0.08)  # of the few weights of two layers
    assert taken.peak - taken.loaded > 900 * MIB


def test_the_plan_knows_the_families_whose_files_hold_experts_as_they_are_computed() -> None:
    stacked = set()
    for family in COUNTED:
        conversions = get_checkpoint_conversion_mapping(family) or []
        operations = [step for each in conversions for step in getattr(each, "operations", None) or []]
        if not any(isinstance(step, MergeModulelist) for step in operations):
            stacked.add(family)
    dense = {"lfm2", "muse_glimmer_text", "qwen3_5_text"}
    assert stacked - dense == STACKED_FILES
