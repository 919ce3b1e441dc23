"""trl_trainer/checks.py: what the plan refuses, without torch."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from textwrap import dedent

import pytest

from framework_plugins.hf.extend import NO_EFFECT, ONLY_HF, SFT_SETTINGS
from framework_plugins.hf.settings.library_fields import SFT_INSTEAD
from framework_plugins.trl_trainer import library
from framework_plugins.trl_trainer.config import CLASSES, SETTINGS, TrlTrainerConfig
from tests.support.project import project

GRPO = ("method=grpo", "reward=[token_f1]")
SCORES = ("trainer.trl_class=RewardTrainer", "method=dpo")
GKD = "trl_class=trl.experimental.gkd.GKDTrainer"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.packing=tree"], "packing is called trainer.args.packing here, and in trainer=hf trainer.packing"),
        (["trainer.tokens_per_pass=40"], "tokens_per_pass is not used here: it is a setting of trainer=hf"),
        (["trainer.class=SFTTrainer"], "class is called trainer.trl_class here"),
        (["trainer.loss_type=dft"], "loss_type is called trainer.args.loss_type here"),
        (["trainer.beta=1"], "beta is called trainer.args.beta here, or method.beta if the method has it"),
        (["trainer.push_to_hub=true"], "push_to_hub is exporter=[adapter,push] here"),
        (["trainer.args.on_out_of_memory=retry"], "is a setting of trainer=hf, trainer.on_out_of_memory: leave it out"),
        (["trainer.args.eval_on_start=true"], "changes nothing with trainer=trl: this program validates in its own"),
        (["trainer.args.ddp_timeout=5"], "trainer.args.ddp_timeout=5 changes nothing with trainer=trl: it trains in"),
        (["sampler.group_by_prefix=false"], "sampler.group_by_prefix=false: TRL orders the rows itself: leave it out"),
        ([*GRPO, "rollout.max_logp_difference=2"], "TRL draws answers itself, trainer.args.use_vllm with vLLM"),
        (["trainer.args.pakcing=true"], "SFTTrainer has no field pakcing. Did you mean trainer.args.packing?"),
        (["trainer.args.learning_rate=1e-4"], "trainer.args.learning_rate is trainer.learning_rate here"),
        (["trainer.args.optim=sgd"], "trainer.args.optim is optimizer here"),
        (["method=dpo", "trainer.args.beta=1"], "trainer.args.beta is method.beta here"),
        ([*GRPO, "method.max_draw_seconds=5"], "method.max_draw_seconds=5: TRL's GRPOTrainer has no such field"),
        (["method=simpo"], "method=simpo: trainer=trl has classes for method=sft|dpo|kto|grpo"),
        (["trainer.trl_class=DPOTrainr"], "unknown trainer of TRL 'DPOTrainr'. Did you mean 'DPOTrainer'?"),
        (["trainer.trl_class=trl.SFTConfig"], "SFTConfig is not a trainer of TRL"),
        (["trainer.trl_class=RewardTrainer"], "learns from the rows of method=dpo: set method=dpo"),
        ([*SCORES], "evaluator=[prompts,forgetting,memorization] asks for answers: set evaluator=[]"),
        ([*SCORES, "exporter=[adapter,gguf]"], "exporter=gguf is for models that answer, and trainer.trl_class=Rewa"),
        ([*SCORES, "exporter=[model_card]"], "scores: set exporter=[adapter], which peft opens"),
        ([*SCORES, "adapter=full"], "trains an adapter with a head: set adapter=lora"),
        ([*SCORES, "adapter.start=x"], "begins with a new adapter: leave adapter.start out"),
        ([*SCORES, "adapter.args.init_lora_weights=eva"], "a new adapter: leave adapter.args.init_lora_weights out"),
        ([*SCORES, "quantization=nf4"], "was not tried with quantization: leave it out"),
        ([*SCORES, "model.new_tokens=[a]"], "was not tried with model.new_tokens: leave it out"),
        ([*SCORES, "trainer.args.eos_token=a"], "trainer.args.eos_token does not suit trainer.trl_class=RewardTra"),
        ([*SCORES, "method.beta=0.3"], "method.beta=0.3: TRL's RewardTrainer has no such field"),
        (["trainer.trl_class=TPOTrainer"], "a third answer to each prompt, and pairs have two: set method=dpo"),
        (["trainer.trl_class=CPOTrainer", "method=dpo"], "reads pairs as texts: set trainer=hf method=cpo"),
        (["trainer.trl_class=ServerDistillationTrainer"], "set trainer.trl_class=DistillationTrainer, which loads"),
        (["trainer.trl_class=RLOOTrainer", *GRPO, "method.beta=0.3"], "a beta of its own: set trainer.args.beta=0.3"),
        (["trainer.trl_class=A2POTrainer", *GRPO], "it gives rewards the texts of answers alone, and those of a run"),
        (["trainer.trl_class=SDFTTrainer"], "it needs a context beside each question, and rows have none"),
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.loss_type=dft"], "TRL's loss; trainer=trl has it as trainer.args.loss_type"),
        (["trainer.args.loss_type=dft"], "TRL's loss; trainer=trl has it as trainer.args.loss_type"),
        (["trainer.packing_strategy=bfd"], "called trainer.packing here; trainer=trl has it as trainer.args.packing_s"),
        (["trainer.trl_class=RLOOTrainer"], "trainer=hf does not have it. It belongs to trainer=trl: choose that too"),
        (["trainer.init.teacher_model=m"], "trainer=hf does not have it. It belongs to trainer=trl: choose that too"),
        ([*GRPO, "method.top_k=5"], "top_k is not used here: answers are drawn with method.temperature"),
        ([*GRPO, "method.top_k=5"], "; trainer=trl has it as trainer.args.top_k"),
    ],
)
def test_a_field_that_only_the_trainers_of_trl_have_names_them(tmp_path: Path, words: list[str], message: str) -> None:
    result = project(tmp_path).run("stages=[plan]", "trainer=hf", *words)
    (line,) = result.err.splitlines()
    assert message in line
    assert result.code == 2


def test_what_changes_nothing_in_either_trainer_names_none() -> None:
    named = {name for name, answer in SFT_INSTEAD.items() if "trainer=trl" in answer}
    assert {"loss_type", "packing", "use_liger_kernel"} <= named
    assert not named & (SETTINGS.keys() | NO_EFFECT.keys())
    assert named <= library.class_fields("SFTTrainer")


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
    names = {f"trainer.{field.name}" for field in fields(TrlTrainerConfig)}
    assert {"packing", "save_steps", "neftune_noise_alpha", "loss_type", "dataloader_num_workers"}.isdisjoint(SETTINGS)
    named = {name: re.findall(r"trainer\.\w+", setting) for name, setting in SFT_SETTINGS.items()}
    assert {name for name, found in named.items() if not names.issuperset(found)} <= ONLY_HF
    assert all(names.issuperset(found) for name, found in named.items() if name in SETTINGS)
    assert SETTINGS["max_length"] == "trainer.max_seq_length"
