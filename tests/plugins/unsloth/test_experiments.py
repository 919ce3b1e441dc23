"""conf/experiment: the walkthrough with Unsloth, and what the plan says fits cards of 8, 12 and 24 GB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from framework.api.records import FitStatus
from framework.config import compose
from framework.hooks.session import current
from framework.plan import make
from framework.plan.forecast import Planner
from framework.plan.make import make_plan
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.config import UnslothTrainerConfig
from tests.support.shelf import Shelf

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    "tie_word_embeddings": False,
}  # fmt: skip
"""Llama 3.1 8B."""
QWEN = {
    "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "tie_word_embeddings": True,
}  # fmt: skip
"""Qwen3 4B."""
CARDS = [
    ("gpu_8gb", QWEN, ("8GiB", "rtx4060", "rtx2070")),
    ("gpu_12gb", LLAMA, ("12GiB", "rtx3060", "rtx5070")),
    ("gpu_24gb", LLAMA, ("24GiB", "rtx4090", "l4")),
    ("llama8b_qlora_unsloth", LLAMA, ("24GiB", "rtx4090", "l4")),
]


@pytest.mark.parametrize("trainer", ["hf", "unsloth"])
@pytest.mark.parametrize(("experiment", "config", "cards"), CARDS, ids=[name for name, *_ in CARDS])
def test_the_plan_says_that_it_fits(
    experiment: str,
    config: dict[str, Any],
    cards: tuple[str, ...],
    trainer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All stages of it, with both trainers, and with what CUDA keeps for itself."""
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))  # of the data nothing is known
    monkeypatch.setattr(versions, "installed", lambda: "2026.10.9")
    monkeypatch.setattr(make, "installed", lambda _: "2026.10.9")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))
    for card in cards:
        words = (f"+experiment={experiment}", f"trainer={trainer}", f"plan.gpu={card}")
        plan = make_plan(compose.compose(words), run_dir=tmp_path / "run", overrides=words)
        memory = Planner(plan, Shelf(config), current()).first().memory
        assert memory is not None
        assert memory.fit_status is FitStatus.fits, f"{words}: {memory.high / 2**30:.1f} GiB"


def test_the_walkthrough_with_unsloth_changes_the_trainer_alone() -> None:
    plain, unsloth = (compose.compose([f"+experiment={name}"]) for name in ("llama8b_qlora", "llama8b_qlora_unsloth"))
    assert OmegaConf.get_type(unsloth.trainer) is UnslothTrainerConfig
    own = {"name", "trainer"}
    assert {key: unsloth[key] for key in unsloth if key not in own} == {
        key: plain[key] for key in plain if key not in own
    }
    settings = OmegaConf.to_container(unsloth.trainer)
    assert isinstance(settings, dict)
    assert settings.pop("optimised_checkpoints") is True
    assert settings == OmegaConf.to_container(plain.trainer)
