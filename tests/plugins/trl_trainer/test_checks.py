"""trl_trainer/checks.py: what the plan refuses, without torch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from textwrap import dedent

import pytest

from framework_plugins.trl_trainer import library
from framework_plugins.trl_trainer.config import CLASSES, TrlTrainerConfig, settings_of_ours
from tests.support.project import project

GRPO = ("method=grpo", "reward=[token_f1]")
GKD = "trl_class=trl.experimental.gkd.GKDTrainer"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.packing=tree"], "packing is called trainer.args.packing here, and in trainer=hf trainer.packing"),
        (["trainer.tokens_per_pass=40"], "tokens_per_pass is not used here: it is a setting of trainer=hf"),
        (["trainer.class=SFTTrainer"], "class is called trainer.trl_class here"),
        (["trainer.args.pakcing=true"], "SFTTrainer has no field pakcing. Did you mean trainer.args.packing?"),
        (["trainer.args.learning_rate=1e-4"], "trainer.args.learning_rate is trainer.learning_rate here"),
        (["trainer.args.optim=sgd"], "trainer.args.optim is optimizer here"),
        (["method=dpo", "trainer.args.beta=1"], "trainer.args.beta is method.beta here"),
        ([*GRPO, "method.max_draw_seconds=5"], "method.max_draw_seconds=5: TRL's GRPOTrainer has no such field"),
        (["method=simpo"], "method=simpo: trainer=trl has classes for method=sft|dpo|kto|grpo"),
        (["trainer.trl_class=DPOTrainr"], "unknown trainer of TRL 'DPOTrainr'. Did you mean 'DPOTrainer'?"),
        (["trainer.trl_class=trl.SFTConfig"], "SFTConfig is not a trainer of TRL"),
        (["trainer.trl_class=RewardTrainer"], "it trains a model that gives scores"),
        (["trainer.trl_class=AsyncGRPOTrainer"], "it needs a server beside the training"),
        (["trainer.trl_class=RLOOTrainer"], "learns from the rows of method=grpo: set method=grpo and reward="),
        ([f"trainer.{GKD}"], "needs teacher_model, which a run does not have: set trainer.init.teacher_model="),
        ([f"trainer.{GKD}", "trainer.init.teacher=a"], "trainer.init.teacher is not an argument of TRL's GKDTrainer"),
        (["launch=ddp", "launch.processes=2", "trainer.device=cpu"], "launch=ddp: trainer=trl trains in one process"),
    ],
)  # fmt: skip
def test_what_trl_does_not_have_is_refused_in_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    result = project(tmp_path).run("stages=[plan]", "trainer=trl", *words)
    (line,) = [line for line in result.err.splitlines() if message in line]
    assert result.code == 2
    assert len(line) < 600


def test_a_loss_of_a_plugin_is_refused(tmp_path: Path) -> None:
    text = """
        from framework import loss
        from framework.api.training import LossValue, TokenScores

        @loss
        def focal(scores: TokenScores) -> LossValue:
            'The mean loss of the learned tokens.'
            return LossValue(-sum(row.sum() for (row,) in scores.policy) / scores.tokens)
    """
    words = ("stages=[plan]", "plugins=[./focal.py]", "trainer=trl", "loss=focal")
    result = project(tmp_path, {"focal.py": dedent(text)}).run(*words)
    assert "loss=focal: trainer=trl has the losses of TRL, trainer.args.loss_type: leave it out" in result.err


def test_the_source_of_trl_says_what_its_classes_have() -> None:
    import trl

    for name in CLASSES.values():
        config = getattr(trl, name.replace("Trainer", "Config"))
        assert library.class_fields(name) == {field.name for field in fields(config) if not field.name.startswith("_")}


def test_no_field_of_trl_is_lost() -> None:
    ours, settings = settings_of_ours(), {field.name for field in fields(TrlTrainerConfig)}
    assert {"packing", "save_steps", "neftune_noise_alpha", "loss_type", "dataloader_num_workers"}.isdisjoint(ours)
    assert all(setting.partition(".")[2].split("=")[0] in settings for setting in ours.values() if setting in settings)
    assert ours["max_length"] == "trainer.max_seq_length"
