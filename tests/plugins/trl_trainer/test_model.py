"""trl_trainer/model.py: TRL's own trainers, which are the oracle of `trainer=hf`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from framework import FrameworkError, Plan
from framework.api import Data, Model, RunFolder, Step, TrainResult
from framework.api.program import load_data
from framework.api.protocols import TrainRun
from framework.api.rewarding import rewarder
from framework.util.errors import Interrupted
from framework_plugins.hf.extend import Checkpoints
from tests.support.pairs import pair_rows
from tests.support.tiny import chat_rows, tiny_chatml
from tests.support.training import make

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL about its own settings
EXACT = 1e-5
STEP = ("trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1", "data.validation_split=0")
"""All rows in each step, in one pass: then their order changes nothing."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rows, by the method that reads them."""
    folder = tmp_path_factory.mktemp("rows")
    chat = "".join(json.dumps(row) + "\n" for row in chat_rows(8))
    labels = [{"prompt": f"What is {n} and 1?", "completion": f"It is {n + 1}.", "label": n % 2 == 0} for n in range(8)]
    texts = {"sft": chat, "grpo": chat, "dpo": pair_rows(8), "kto": "".join(json.dumps(row) + "\n" for row in labels)}
    for name, text in texts.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.jsonl" for name in texts}


@contextmanager
def opened(plan: Plan) -> Iterator[tuple[Model, Data]]:
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    with plan.trainer.create().open(plan) as model:
        yield model, load_data(plan, model)


def train(plan: Plan, end: int = 0, state: Sequence[str] = ()) -> tuple[TrainResult, list[Step]]:
    """Train, and interrupt the training after the step `end`."""
    steps: list[Step] = []
    reward = rewarder(plan.reward) if plan.reward else None
    with opened(plan) as (model, data):
        run = TrainRun(
            plan.run_dir / "checkpoint", plan.run_dir / "scratch", steps.append, prompts=data.train_prompts,
            interruption=lambda: Interrupted(signal.SIGTERM) if end and len(steps) >= end - 1 else None,
            state=lambda: {"names": [*state]}, reward=reward,
        )  # fmt: skip
        return model.train(data.train_groups, data.validation_groups, run), steps


def losses(base: Path, rows: Path, folder: Path, *words: str) -> list[list[Step]]:
    """Return the steps of `trainer=hf` and of `trainer=trl`."""
    return [
        train(make(base, rows, folder / trainer, *STEP, f"trainer={trainer}", *words))[1] for trainer in ("hf", "trl")
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("method=sft", "optimizer=adafactor", "schedule=cosine", "adapter=dora"),
        ("method=dpo", "method.beta=0.3", "method.loss_type=[sigmoid,sft]"),
        ("method=kto", "method.loss_type=apo_zero_unpaired"),
    ],
    ids=["sft", "dpo", "kto"],
)
def test_both_trainers_have_the_same_losses(
    base: Path, files: dict[str, Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    ours, trls = losses(base, files[words[0].removeprefix("method=")], tmp_path, *words)
    assert [step.step for step in trls] == [1, 2, 3, 4] == [step.total_steps - 4 + step.step for step in ours]
    assert [step.loss for step in trls] == pytest.approx([step.loss for step in ours], abs=EXACT)
    assert [step.learning_rate for step in trls] == pytest.approx([step.learning_rate for step in ours])
    assert trls[-1].tokens == ours[-1].tokens or "sft" not in words[0]  # TRL reads no token after the last learned one
    shared = trls[0].loss_metrics.keys() & ours[0].loss_metrics.keys()
    assert "method=dpo" not in words or {"rewards/chosen", "rewards/margins", "logps/rejected"} <= shared


def test_rewards_of_the_run_are_reward_functions_of_trl(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    words = ("method=grpo", "method.num_generations=4", "method.max_completion_length=6", "reward=[token_f1]")
    plan = make(base, files["grpo"], tmp_path, "trainer=trl", *words, "trainer.max_steps=2", *STEP)
    result, steps = train(plan)
    assert result.steps == 2
    assert result.supervised_tokens > 0
    assert {"reward", "rewards/token_f1/mean", "completions/mean_length"} <= steps[0].loss_metrics.keys()


def test_another_class_of_trl_trains(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    words = ["trainer.trl_class=RLOOTrainer", "method=grpo", "method.num_generations=2", "reward=[token_f1]"]
    words += ["method.max_completion_length=6", "trainer.max_steps=1"]
    plan = make(base, files["grpo"], tmp_path, "trainer=trl", *words, *STEP)
    assert train(plan)[0].steps == 1


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("trl.experimental.gkd.GKDTrainer", ["trainer.args.lmbda=0.0", "trainer.args.max_new_tokens=4"]),
        ("DistillationTrainer", ["trainer.args.max_completion_length=4"]),
    ],
    ids=["conversations", "questions and answers"],
)
def test_a_class_gets_the_rows_that_it_reads(
    base: Path, files: dict[str, Path], tmp_path: Path, name: str, more: list[str]
) -> None:
    words = [f"trainer.trl_class={name}", f"trainer.init.teacher_model={base}", "trainer.max_steps=1", *more]
    plan = make(base, files["sft"], tmp_path, "trainer=trl", *words, *STEP)
    assert train(plan)[0].steps == 1


def test_a_field_of_trl_has_its_effect(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    plain, dft = (
        train(make(base, files["sft"], tmp_path / name, "trainer=trl", "trainer.max_steps=1", *STEP, *words))[1]
        for name, words in (("plain", ()), ("dft", ("trainer.args.loss_type=dft",)))
    )
    assert plain[0].loss != pytest.approx(dft[0].loss)


def test_an_interrupted_training_resumes_from_a_checkpoint_of_trl(
    base: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    words = ("trainer=trl", *STEP, "trainer.per_device_train_batch_size=2", "trainer.max_steps=6")
    _, whole = train(make(base, files["sft"], tmp_path / "whole", *words))
    plan = make(base, files["sft"], tmp_path / "run", *words)
    with pytest.raises(Interrupted):
        train(plan, end=3)
    assert [folder.name for folder in (plan.run_dir / RunFolder.TRAINING_STATE).iterdir()] == ["step-00000003"]
    result, steps = train(plan)
    assert result.resumed == 3
    assert [step.repeated for step in steps] == [True] * 3 + [False] * 3
    assert [step.loss for step in steps] == pytest.approx([step.loss for step in whole], abs=1e-9)
    assert result.tokens == whole[-1].tokens
    with (
        pytest.raises(FrameworkError, match=r"belongs to a training with trainer=trl: restore that"),
        opened(make(base, files["sft"], tmp_path / "run", *words[1:], "trainer=hf")),
    ):
        pass


def test_a_checkpoint_of_the_other_trainer_is_refused(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    hf, trl = (make(base, files["sft"], tmp_path, *STEP, f"trainer={name}") for name in ("hf", "trl"))
    Checkpoints(hf).save(2, [], lambda _: None, 0)
    with pytest.raises(FrameworkError, match=r"belongs to a training with trainer=hf: restore that"), opened(trl):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.args.packing=often"], r"trainer\.args\.packing=often: TRL's SFTConfig takes bool"),
        (
            ["trainer.args.hub_strategy=never"],
            r"trainer\.args: TRL's SFTConfig refuses its fields: ValueError: never is not",
        ),
        (["trainer.trl_class=others_of.Missing"], r"trl_class=others_of\.Missing: unknown trainer 'Missing'"),
        (["trainer.trl_class=others_of.Other"], r"trl_class=others_of\.Other is not a trainer of TRL"),
        (["trainer.trl_class=nowhere.Other"], r"trl_class=nowhere\.Other cannot be imported: ModuleNotFoundError"),
        (["trainer.trl_class=others_of.Pairs"], r"learns from the rows of method=dpo, and the run has method=sft"),
    ],
)
def test_what_trl_refuses_is_told_before_the_data_are_read(
    base: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    text = "from trl import DPOTrainer\nclass Pairs(DPOTrainer): ...\nclass Other: ...\n"
    (tmp_path / "others_of.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "others_of", raising=False)
    plan = make(base, files["sft"], tmp_path / "run", "trainer=trl", *STEP, *words)
    with pytest.raises(FrameworkError, match=message), plan.trainer.create().open(plan):
        pass


def test_a_training_that_runs_out_of_memory_ends_with_the_usual_advice(
    base: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = "def training_step(self, *_, **__): raise torch.OutOfMemoryError('CUDA out of memory')"
    text = f"import torch\nfrom trl import SFTTrainer\nclass Hungry(SFTTrainer):\n    {step}\n"
    (tmp_path / "hungry.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plan = make(base, files["sft"], tmp_path / "run", "trainer=trl", "trainer.trl_class=hungry.Hungry", *STEP)
    with pytest.raises(FrameworkError, match=r"out of memory: .*\nLower trainer\.per_device_train_batch_size"):
        train(plan)
    assert not (tmp_path / "run" / "scratch").exists()
