"""conf/experiment: the walkthrough with Unsloth, and what the plan says fits cards of 8, 12, 16 and 24 GB."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from framework.api.records import FitStatus
from framework.config import compose
from framework.hooks.session import current
from framework.plan import make
from framework.plan.forecast import Planner
from framework.plan.make import make_plan
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.config import UnslothTrainerConfig
from tests.support.shelf import Shelf

CARDS = {
    "gpu_8gb": ("8GiB", "rtx2070"),
    "gpu_12gb": ("12GiB", "rtx5070"),
    "gpu_24gb": ("24GiB", "l4"),
    "llama8b_qlora_unsloth": ("24GiB", "l4"),
}
ONE_TRAINER = {
    "gpu_16gb": ("16GiB",),
    "qwen3_5_4b_8gb": ("8GiB",),
    "gemma4_e2b_12gb": ("12GiB",),
    "qwen3_5_9b_16gb": ("16GiB",),
    "mistral_small_24gb": ("24GiB",),
    "lfm2_8b_a1b_8gb": ("8GiB",),
    "gpt_oss_20b_16gb": ("16GiB",),
    "qwen3_30b_a3b_24gb": ("24GiB",),
    "gemma4_26b_a4b_24gb": ("24GiB",),
    "llama8b_qlora": ("24GiB",),
}
"""Those whose models were not planned for with Unsloth."""
PAGE = Path(__file__).parents[3] / "docs" / "tutorial" / "your-gpu.md"
SHOWN = dict(
    re.findall(r"^\| \d+ GB \| `(\w+)` \|.*\| ([\d.]+) GiB \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
)
"""What the page says that each takes at most, in GiB, on a card of the first size."""


@pytest.mark.parametrize(
    ("experiment", "trainer"),
    [*((name, trainer) for name in CARDS for trainer in ("hf", "unsloth")), *((name, "hf") for name in ONE_TRAINER)],
)
def test_the_plan_says_that_it_fits(
    experiment: str, trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages of it, with both trainers, and with what CUDA keeps for itself; the page has the figures of hf."""
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))  # of the data nothing is known
    monkeypatch.setattr(versions, "installed", lambda: "2026.10.9")
    monkeypatch.setattr(make, "installed", lambda _: "2026.10.9")
    monkeypatch.setattr(versions, "problems", lambda: iter(()))
    for card in (CARDS | ONE_TRAINER)[experiment]:
        words = (f"+experiment={experiment}", f"trainer={trainer}", f"plan.gpu={card}")
        plan = make_plan(compose.compose(words), run_dir=tmp_path / "run", overrides=words)
        memory = Planner(plan, Shelf(CONFIGS[plan.model.config.path]), current()).first().memory
        assert memory is not None
        assert memory.fit_status is FitStatus.fits, f"{words}: {memory.high / 2**30:.1f} GiB"
        if trainer == "hf" and card.endswith("GiB") and experiment in SHOWN:
            assert f"{memory.high / 2**30:.1f}" == SHOWN[experiment]


def test_each_experiment_on_the_page_is_planned() -> None:
    assert len(SHOWN) == 13
    assert {*SHOWN} <= {*CARDS, *ONE_TRAINER}


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
