"""trl_trainer/scoring_model.py: a reward model as TRL trains it, its held-out pairs, and its scores in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from framework import FrameworkError, Plan
from framework.api import Answer, Message, Prompt, Step
from framework.api.rewarding import rewarder
from framework.api.training import ModelPlace
from framework.memory import Shape
from framework.util.errors import Interrupted
from framework.util.gpus import named
from framework_plugins.trl_trainer.plugin import framework_memory
from framework_plugins.trl_trainer.scoring_model import ScoringModel
from tests.framework.memory.test_shape import SMOLLM
from tests.plugins.trl_trainer.test_model import EXACT, opened, train
from tests.support.pairs import pair_rows
from tests.support.project import project
from tests.support.tiny import tiny_chatml
from tests.support.training import chosen, make

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL about its own settings
SCORING = ("trainer=trl", "trainer.trl_class=RewardTrainer", "method=dpo", "evaluator=[]")
ALL_ROWS = ("trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


def pairs(folder: Path, count: int = 8) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text(pair_rows(count), encoding="utf-8")
    return file


def trained(base: Path, folder: Path, *words: str) -> tuple[Plan, list[Step]]:
    plan = make(base, pairs(folder), folder / "run", *SCORING, *ALL_ROWS, "data.validation_split=0", *words)
    return plan, train(plan)[1]


def test_the_losses_are_those_of_trl_alone(base: Path, tmp_path: Path) -> None:
    import trl
    from datasets import Dataset

    plan, steps = trained(base, tmp_path, "schedule=constant", "trainer.warmup_steps=0")
    set_seed(plan.seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    set_seed(plan.seed)
    lora = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=32, target_modules="all-linear", modules_to_save=["score"])
    turns = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    rows = [json.loads(line) for line in pair_rows(8).splitlines()]
    training, args = plan.training, {"max_steps": 4, "logging_steps": 1, "report_to": [], "use_cpu": True}
    trainer = trl.RewardTrainer(
        model=get_peft_model(model, lora),
        args=trl.RewardConfig(
            str(tmp_path / "plain"), per_device_train_batch_size=8, learning_rate=training.learning_rate, bf16=False,
            weight_decay=training.weight_decay, lr_scheduler_type="constant", gradient_checkpointing=False, **args,
        ),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=Dataset.from_list(
            [{name: [{"role": role, "content": row[name]}] for name, role in turns.items()} for row in rows]
        ),
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [step.loss for step in steps] == pytest.approx([entry["loss"] for entry in logged], abs=EXACT)
    assert steps[0].loss != pytest.approx(steps[-1].loss, abs=0.01)
    for name in ("accuracy", "margin", "max_reward"):
        assert [step.loss_metrics[name] for step in steps] == pytest.approx([e[name] for e in logged], abs=EXACT)


def test_its_scores_are_those_of_peft_and_of_the_reward(base: Path, tmp_path: Path) -> None:
    plan, _ = trained(base, tmp_path)
    rows = [json.loads(line) for line in pair_rows(8).splitlines()]
    prompts = [Prompt((Message("user", row["prompt"]),), None, where=f"pairs:{n}") for n, row in enumerate(rows)]
    answers = [Answer(row["chosen"], 1, stopped=True) for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(plan.checkpoint)
    model = AutoPeftModelForSequenceClassification.from_pretrained(plan.checkpoint, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    direct = []
    for row in rows:
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False).input_ids
        with torch.no_grad():
            direct.append(model.eval()(torch.tensor([ids])).logits.item())
    assert max(direct) - min(direct) > 100 * EXACT
    reward = rewarder({"reward_model": chosen("reward", "reward_model", path=str(plan.run_dir), batch_size=3)})
    assert reward(prompts, answers).total == pytest.approx(direct, abs=EXACT)
    with opened(plan) as (restored, data):
        assert isinstance(restored, ScoringModel)
        restored.restore(plan.checkpoint)
        groups = sorted(data.train_groups, key=lambda group: group.where)
        assert restored.scores([group.rows[0] for group in groups]) == pytest.approx(direct, abs=EXACT)
        values = restored.measures(groups)
        with restored.as_base():
            assert restored.measures(groups) == {}
    margins = [margin for margin in values["preference_margin"].items if margin is not None]
    assert values["preference_accuracy"].value == sum(margin > 0 for margin in margins) / 8
    losses = -torch.nn.functional.logsigmoid(torch.tensor(margins))
    assert values["eval_loss"].items == pytest.approx(losses.tolist(), abs=EXACT)


def test_in_16_bits_it_learns_too_and_the_plan_counts_no_logits(base: Path, tmp_path: Path) -> None:
    plan, steps = trained(base, tmp_path, "trainer.dtype=bf16", "trainer.learning_rate=0.01")
    assert steps[-1].loss < steps[0].loss - 0.01
    (settings,) = framework_memory(plan, Shape.from_config(SMOLLM), named("rtx4090"), 256, 256, 0)
    assert (settings.rows, settings.length, settings.chunk) == (2 * 8, 256, 0)  # both answers of a pair in one pass
    other = make(base, pairs(tmp_path), tmp_path / "other", "trainer=trl", "trainer.trl_class=RLOOTrainer",
                 "method=grpo", "reward=[token_f1]")  # fmt: skip
    with pytest.raises(FrameworkError, match="trainer=trl with RLOOTrainer uses memory in a way"):
        next(iter(framework_memory(other, Shape.from_config(SMOLLM), named("rtx4090"), 256, 256, 0)))


def test_an_interrupted_training_resumes(base: Path, tmp_path: Path) -> None:
    words = [*SCORING, "trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=1"]
    words += ["data.validation_split=0", "trainer.max_steps=6"]
    _, whole = train(make(base, pairs(tmp_path), tmp_path / "whole", *words))
    plan = make(base, pairs(tmp_path), tmp_path / "run", *words)
    with pytest.raises(Interrupted):
        train(plan, end=3)
    result, steps = train(plan)
    assert result.resumed == 3
    assert [step.loss for step in steps] == pytest.approx([step.loss for step in whole], abs=1e-9)


def test_the_verdict_is_about_held_out_pairs_against_chance(base: Path, tmp_path: Path) -> None:
    work = project(tmp_path)
    words = ["model=local", f"model.path={base}", "data=local_file", f"data.path={pairs(tmp_path, 60)}"]
    words += ["data.validation_split=0.3", "trainer.learning_rate=0.01", "trainer.dtype=fp32", "run_dir=run"]
    result = work.run(*SCORING, *words)
    assert result.code == 0
    assert "Better: preference_accuracy is 100% (chance: 50%)." in result.out
    assert "talk to it" not in result.out
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"]["primary"] == "preference_accuracy"
    for command in (["chat", "run"], ["stages=[export]", "run_dir=run", "exporter=[merged]"]):
        refused = work.run(*command)
        assert refused.code == 2
        assert "gives scores" in refused.err
        assert "Traceback" not in refused.err


def test_a_model_without_such_a_head_is_refused_when_it_is_opened(tmp_path: Path, base: Path) -> None:
    file = base / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({**settings, "model_type": "cohere"}), encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"transformers has no model_type=cohere that gives a score by a layer"):
        ScoringModel.check(ModelPlace(other, "other"), trust=False)
