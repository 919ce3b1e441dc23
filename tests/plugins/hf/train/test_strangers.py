"""Methods, losses and a trainer of third parties, in whole trainings: on trees, cut, interrupted, in two processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from framework import FrameworkError
from framework.api import RunFolder, records
from framework.api.protocols import Launcher, TrainRun
from framework.api.records import Example, GroupedRows, Message, Step, TokenGroup, TrainResult
from framework.api.registry import load_file as load_plugin
from framework.api.schema import Role
from framework.hooks.session import current
from framework.memory import Shape
from framework.plan.fit import PlanContext
from framework_plugins.hf.train import trainer
from framework_plugins.hf.train.resume.checkpoints import rows_digest
from tests.docs.test_docs import ROOT, write_files
from tests.support import copies, group_plugin
from tests.support.forked_program import MODULE, Result, launch, trainers
from tests.support.pairs import pairs
from tests.support.pairs_plugin import token_row
from tests.support.training import make, make_for_group, opened

PAGE, OTHER_PAGE = ROOT / "docs/how-to/methods-and-losses.md", ROOT / "docs/how-to/change-a-training.md"
LABELS = ("method=kto", "format=labelled", "data.validation_split=0.25")
SPREAD = ("loss=spread", "format=preference")
PAIRS = ("method=pairs", "format=preference", "data.validation_split=0.25", "trainer.eval_steps=2")
START = "adapter.start={}"
NAMES = ("loss", "grad_norm", "eval_loss", "metrics", "loss_metrics", "learning_rate", "tokens")


@pytest.fixture(autouse=True, scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Register the pairs and the files of the page while these tests run."""
    place = tmp_path_factory.mktemp("docs")
    write_files(PAGE, None, place)
    names = ("focal", "distill", "loud")
    with pairs():
        for name in names:
            load_plugin(str(place / f"{name}.py"))
        yield place


@pytest.fixture(scope="module")
def labels_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    said = [(n, f"It is {n + 1}." if n % 2 else "Say odd.") for n in range(16)]
    rows = ({"question": f"Which number follows {n}?", "said": text, "good": n % 2} for n, text in said)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


class EndedError(Exception):
    """The training ends here."""


def trained(base: Path, rows: Path, folder: Path, *words: str, end: int = 0) -> list[Step]:
    """Train four steps, or end after one of them, and return them."""
    steps: list[Step] = []

    def on_step(step: Step) -> None:
        steps.append(dataclasses.replace(step, seconds=0.0, repeated=False))
        if step.step == end:
            raise EndedError

    with opened(make(base, rows, folder, *words)) as (model, data), suppress(EndedError):
        run = TrainRun(folder / "checkpoint", folder / "scratch", on_step)
        model.train(data.train_groups, data.validation_groups, run)
    return steps


def close(made: list[Step], expected: list[Step]) -> None:
    for one, other in zip(made, expected, strict=True):
        for name in NAMES:
            mine, theirs = getattr(one, name), getattr(other, name)
            assert mine == (theirs if theirs is None else pytest.approx(theirs, rel=1e-4, abs=1e-5)), name


def test_pairs_begin_at_ln_2_and_are_the_same_training_however_a_step_is_cut(
    base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    cuts = (("4", "1", "tree"), ("1", "4", "tree"), ("2", "2", "pad"), ("1", "4", "none"))
    made = []
    for rows, accumulation, packing in cuts:
        batch = f"trainer.per_device_train_batch_size={rows}", f"trainer.gradient_accumulation_steps={accumulation}"
        # Padded rows come in an order of their own, by length, unless nothing is brought together.
        words = (*PAIRS, *batch, f"trainer.packing={packing}", "sampler.group_by_prefix=false")
        made.append(trained(base, pairs_file, tmp_path / f"{rows}{packing}", *words))
    for each in made[1:]:
        close(each, made[0])
    first, last = made[0][0], made[0][-1]
    assert first.loss == pytest.approx(math.log(2), abs=1e-6)
    assert first.loss_metrics == {"margin": pytest.approx(0, abs=1e-6)}
    assert last.loss < first.loss
    assert last.loss_metrics["margin"] > 0
    assert any("chosen_is_likelier" in step.metrics and step.eval_loss is not None for step in made[0])


def test_labels_begin_at_a_half_and_are_the_same_training_however_a_step_is_cut(
    base: Path, labels_file: Path, tmp_path: Path
) -> None:
    made = []
    for rows, accumulation in (("4", "1"), ("1", "4")):
        batch = f"trainer.per_device_train_batch_size={rows}", f"trainer.gradient_accumulation_steps={accumulation}"
        made.append(trained(base, labels_file, tmp_path / rows, *LABELS, *batch, "trainer.learning_rate=1e-2"))
    close(made[1], made[0])
    assert made[0][0].loss == pytest.approx(0.5, abs=1e-6)
    assert made[0][0].loss_metrics["kl"] == 0
    assert made[0][-1].loss < 0.49
    assert made[0][-1].loss_metrics["rewards/margins"] > 0


@pytest.fixture(scope="module")
def taught_file(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write questions and answers, with what a teacher gave at each learned token."""
    folder, draw = tmp_path_factory.mktemp("taught"), np.random.default_rng(0)
    asked = [(f"Which number follows {n}?", f"It is {n + 1}.") for n in range(16)]
    talks = [Example((Message("user", one), Message("assistant", other)), "") for one, other in asked]
    with opened(make(base, rows, folder / "run")) as (model, _):
        counts = [len(row.learned) for row in model.encode(talks)]
    lines = [
        {
            "question": one,
            "answer": other,
            "teacher_ids": [draw.permutation(300)[:4].tolist() for _ in range(count)],
            "teacher_log_probs": np.log(draw.dirichlet(np.ones(5), count)[:, :4]).tolist(),
        }
        for (one, other), count in zip(asked, counts, strict=True)
    ]
    file = folder / "taught.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


TAUGHT = ("format=taught", "loss=distill", "data.validation_split=0.25")


@pytest.mark.parametrize(
    ("words", "data"),
    [(PAIRS, "pairs_file"), (TAUGHT, "taught_file")],
    ids=["pairs", "distill"],
)
def test_an_interrupted_training_goes_on_to_the_same_weights(
    base: Path, words: tuple[str, ...], data: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    words = (*words, "trainer.save_steps=1", "trainer.logging_steps=2", "adapter.lora_dropout=0.1")
    file: Path = request.getfixturevalue(data)
    straight = trained(base, file, tmp_path / "straight", *words)
    trained(base, file, tmp_path / "ended", *words, end=2)
    again = trained(base, file, tmp_path / "ended", *words)
    assert again == straight
    weights = [load_file(tmp_path / name / "checkpoint/adapter_model.safetensors") for name in ("straight", "ended")]
    assert all(weight.equal(weights[1][name]) for name, weight in weights[0].items())


KILLER = """
import os
import signal

from framework import callback


@callback
def killer(step):
    '''Kills the run after the step that a variable names.'''
    if str(step.step) == os.environ.get("KILL_AFTER"):
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED = (
    "model=local", "model.path=model", "data=local_file", "trainer.device=cpu", "trainer.dtype=fp32", "adapter.r=4",
    "metric=[]", "evaluator=[]", "exporter=[]", "audit=[]", "logger=[jsonl]", "data.validation_split=0.2",
    "trainer.max_steps=6", "trainer.warmup_steps=1", "trainer.save_steps=2", "trainer.logging_steps=1",
    "trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=2", "trainer.eval_steps=3",
    "format.system_prompt='Answer in one short sentence, be exact, and name nothing that was not asked for.'",
)  # fmt: skip
ALL_OF_A_TRAINING = (
    "plugins=[orthogonal.py,trapezoid.py,curriculum.py,plateau.py,focal.py,loud.py,killer.py]", "data.path=rows.jsonl",
    "optimizer=orthogonal", "schedule=trapezoid", "schedule.decay=0.5", "sampler=short_first", "loss=focal",
    "trainer=loud", "callback=[plateau,killer]", "callback.plateau.patience=1", "trainer.learning_rate=0.05",
)  # fmt: skip
A_TEACHER = ("plugins=[distill.py,killer.py]", "data.path=taught.jsonl", "callback=[killer]", *TAUGHT[:2])


def wait_until_gone(folder: Path) -> None:
    """Wait for the processes of a group whose run was killed."""
    end = time.monotonic() + 60
    while any(str(folder) in each.info["cmdline"] for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"]):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("group", [(), ("launch=ddp", "launch.processes=2")], ids=["one process", "two"])
@pytest.mark.parametrize("words", [ALL_OF_A_TRAINING, A_TEACHER], ids=["all of a training", "a teacher"])
def test_the_examples_of_the_pages_are_killed_and_go_on_bit_for_bit(
    base: Path, rows: Path, taught_file: Path, tmp_path: Path, words: tuple[str, ...], group: tuple[str, ...]
) -> None:
    """With accumulation and trees of shared prefixes, in one process and in two."""
    for page in (PAGE, OTHER_PAGE):
        write_files(page, None, tmp_path)
    (tmp_path / "killer.py").write_text(KILLER, encoding="utf-8")
    shutil.copytree(base, tmp_path / "model")
    shutil.copy(rows, tmp_path / "rows.jsonl")
    shutil.copy(taught_file, tmp_path / "taught.jsonl")

    def run(*arguments: str, kill: str = "") -> Result:
        return launch(MODULE, *arguments, cwd=tmp_path, env={"KILL_AFTER": kill}, of=trainers())

    def outcome(name: str) -> tuple[str, dict[int, list[Any]]]:
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        told = {line["step"]: [line[name] for name in NAMES] for line in lines if line["event"] == "step"}
        weights = (tmp_path / name / "checkpoint/adapter_model.safetensors").read_bytes()
        return hashlib.sha256(weights).hexdigest(), told

    straight = run(*KILLED, *words, *group, "run_dir=straight")
    assert straight.code == 0, straight.err
    assert '"packing": "tree' in (tmp_path / "straight/log.jsonl").read_text(encoding="utf-8")
    ended = run(*KILLED, *words, *group, "run_dir=killed", kill="3")
    assert ended.code == -signal.SIGKILL, ended.err
    wait_until_gone(tmp_path / "killed")
    assert {path.name for path in (tmp_path / "killed" / RunFolder.TRAINING_STATE).iterdir()} == {"step-00000002"}
    last = run("resume", "killed")
    assert last.code == 0, last.err
    assert records.load(TrainResult, tmp_path / "killed/train.json").resumed == 2
    assert outcome("killed") == outcome("straight")


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ((*PAIRS, START), "ddp"),
        pytest.param(PAIRS, "fsdp2", marks=pytest.mark.slow),
        pytest.param((*PAIRS, "adapter=full", "trainer.learning_rate=1e-3"), "ddp", marks=pytest.mark.slow),
        pytest.param(SPREAD, "ddp", marks=pytest.mark.slow),
        pytest.param(SPREAD, "fsdp2", marks=pytest.mark.slow),
        pytest.param(LABELS, "ddp", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one(
    base: Path,
    pairs_file: Path,
    labels_file: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pairs are measured in all processes too; their reference is the start, or the base that is cut into pieces."""
    rows = labels_file if words is LABELS else pairs_file
    if START in words:
        trained(base, rows, tmp_path / "start", *PAIRS)
        words = tuple(word.format(tmp_path / "start/checkpoint") for word in words)
    file = Path(shutil.copy(group_plugin.__file__, tmp_path / "group_plugin.py"))
    monkeypatch.setattr(current().plugins, "files", {*current().plugins.files, str(file)})
    words = (*words, "evaluator=[]", "audit=[]", "exporter=[]", "stages=[data,train]")
    alone = trained(base, rows, tmp_path / "alone", *words, "trainer.gradient_accumulation_steps=4")
    group = (f"launch={engine}", "launch.processes=2", "trainer.device=cpu", "logger=[jsonl]", f"plugins=[{file}]")
    accumulated = "trainer.gradient_accumulation_steps=2"
    plan = make_for_group(base, rows, tmp_path / "together", *words, *group, accumulated)
    launcher: Launcher = plan.launch.create()
    with copies.groups(tmp_path):
        launcher.launch(plan)
    lines = [json.loads(line) for line in (tmp_path / "together/log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    for step, expected in zip(steps, alone, strict=True):
        assert step["loss"] == pytest.approx(expected.loss, rel=1e-4, abs=1e-6)
        assert step["grad_norm"] == pytest.approx(expected.grad_norm, rel=1e-3)
        assert step["loss_metrics"] == pytest.approx(expected.loss_metrics, rel=1e-4, abs=1e-5)
        assert step["metrics"] == pytest.approx(expected.metrics, rel=1e-4)
    assert any(step["metrics"] for step in steps) == (words[0] != SPREAD[0])
    if words[0] == PAIRS[0]:
        assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert records.load(TrainResult, tmp_path / "together/train.json").steps == len(alone)


def test_a_label_a_role_or_an_array_that_changed_is_another_training() -> None:
    plain, array = token_row(3, 6), np.ones((3, 2), np.float32)
    group = GroupedRows((plain, token_row(9, 5)), (Role.answer, Role.rejected), {"label": 1.0}, {"old": (array, array)})
    changed: list[TokenGroup] = [
        plain,
        group,
        dataclasses.replace(group, facts={"label": 0.0}),
        dataclasses.replace(group, roles=(Role.answer, Role.answer)),
        dataclasses.replace(group, arrays={"old": (array, array * 2)}),
    ]
    assert len({rows_digest([each]) for each in changed}) == len(changed)


def test_the_losses_of_the_page_train(base: Path, rows: Path, tmp_path: Path) -> None:
    focal = trained(base, rows, tmp_path / "focal", "loss=focal", "loss.gamma=0.5")
    plain = trained(base, rows, tmp_path / "plain")
    nothing = trained(base, rows, tmp_path / "nothing", "loss=focal", "loss.gamma=0")
    assert focal[0].loss < plain[0].loss
    assert focal[-1].loss < focal[0].loss
    for one, other in zip(nothing, plain, strict=True):  # gamma 0 is cross entropy
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)


def test_a_loss_that_reads_what_the_rows_do_not_have_is_refused(base: Path, rows: Path, tmp_path: Path) -> None:
    told = r"loss=distill reads 'teacher_log_probs' of each row, and (\d+) of \1 rows have none: choose a format that"
    with pytest.raises(FrameworkError, match=told), opened(make(base, rows, tmp_path / "run", "loss=distill")):
        pass


def test_each_event_of_a_callback_is_told_or_the_page_says_that_it_is_not() -> None:
    told = re.findall(r'_tell\("(on_\w+)"', Path(trainer.__file__).read_text(encoding="utf-8"))
    page = (Path(__file__).parents[4] / "docs/how-to/methods-and-losses.md").read_text(encoding="utf-8")
    missing = re.findall(r"`(on_\w+)`", page)
    assert not {*told} & {*missing}
    assert {*told} | {*missing} == {name for name in dir(TrainerCallback) if name.startswith("on_")}


def test_a_trainer_built_on_hf_trains_the_same_and_does_more(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(base, rows, tmp_path / "plain")
    plan = make(base, rows, tmp_path / "loud", "trainer=loud")
    shape = Shape.from_config(json.loads((base / "config.json").read_text(encoding="utf-8")))
    built_on = make(base, rows, tmp_path / "plain")
    assert PlanContext(plan, shape, None, None, current()).settings == (
        PlanContext(built_on, shape, None, None, current()).settings
    )
    steps: list[Step] = []
    with plan.trainer.create().open(plan) as model:
        from framework.api.program import load_data

        data = load_data(plan, model)
        run = TrainRun(tmp_path / "loud/checkpoint", tmp_path / "loud/scratch", steps.append)
        model.train(data.train_groups, data.validation_groups, run)
    assert [step.loss for step in steps] == [step.loss for step in plain]
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")] == [
        f"step {step.step}: {step.loss:.2f}" for step in steps
    ]
