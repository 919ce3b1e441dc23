"""Two processes on a CPU train as one: the same losses and adapter, and one resumes the run of the other."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from framework import FrameworkError
from framework.api import RunFolder, records
from framework.api.protocols import AnswerTask, Launcher
from framework.api.records import EvalResult, TrainResult
from framework.api.registry import load_file as load_plugin
from framework.run.interruption import Interruption
from framework.run.training import TrainingController
from framework.rundir.folder import SCRATCH
from framework.util.errors import Interrupted
from framework_plugins.launch.helper import Helper
from framework_plugins.launch.worker import GROUP
from tests.support import copies, group_plugin
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make_for_group

PLUGIN = Path(group_plugin.__file__)
WORDS = (
    "stages=[data,train]", "logger=[jsonl]", "audit=[]", "evaluator=[]", "exporter=[adapter]", "objective=eval_loss",
    "trainer.device=cpu", "trainer.max_steps=6", "trainer.save_steps=2", "trainer.eval_steps=3",
)  # fmt: skip
ALONE = ("trainer.gradient_accumulation_steps=4",)
TWO = ("launch.processes=2", "trainer.gradient_accumulation_steps=2")
"""A step has the same eight rows; 19 rows make the last step of an epoch a smaller one."""
FOUR = ("launch.processes=4", "trainer.gradient_accumulation_steps=1", "trainer.tokens_per_pass=32")
"""The two rows that a process has of a step are two passes."""
AFTER = "stages=[data,train,evaluate,export]"
CLOSE = 1e-4
"""How far losses may lie apart, as a share of them."""


@dataclass(frozen=True)
class Done:
    """A run: the result of its training, its steps, its adapter."""

    result: TrainResult
    steps: list[dict[str, Any]]
    adapter: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs into a folder and reads the results."""
    place = tmp_path_factory.mktemp("runs")
    rows = place / "rows.jsonl"
    made_rows = [json.dumps(row) + "\n" for row in chat_rows(24)]
    few, more = place / "few.jsonl", place / "more.jsonl"
    for file, some in ((rows, made_rows[:19]), (few, made_rows[19:21]), (more, made_rows[21:])):
        file.write_text("".join(some), encoding="utf-8")
    sets = f"data.validation_sets={{few: '{few}', more: '{more}'}}"
    plugin = shutil.copy(PLUGIN, place / "group_test_plugin.py")
    load_plugin(str(plugin))

    def made(name: str, *words: str, **fsdp2: Any) -> Done:
        folder = place / name
        plan = make_for_group(base, rows, folder, f"plugins=[{plugin}]", sets, *WORDS, *words, **fsdp2)
        launcher: Launcher = plan.launch.create()
        launcher.launch(plan)
        result = records.load(TrainResult, folder / "train.json")
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        steps = [line for line in lines if line["event"] == "step"][
            -result.steps :
        ]  # those before are another process's
        checkpoint = folder / "checkpoint"
        file = next(checkpoint.glob("*model.safetensors"))
        return Done(result, steps, {name: weight.float().numpy() for name, weight in load_file(file).items()}, folder)

    return made


@pytest.fixture(scope="module")
def alone(run: Run) -> Done:
    return run("alone", *ALONE, AFTER)


Seen = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Return a function that reads what each process saw of its model."""
    monkeypatch.setenv(group_plugin.SEEN, str(tmp_path))

    def read(processes: int = 2) -> list[dict[str, Any]]:
        told = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(tmp_path.glob("*.json"))]
        assert len(told) == processes
        return told

    return read


def close(one: Done, two: Done) -> None:
    """Look whether two runs are the same training."""
    assert [step["step"] for step in one.steps] == [step["step"] for step in two.steps]
    for key in ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens", "epoch"):
        values = [[step[key] or 0.0 for step in each.steps] for each in (one, two)]
        assert values[0] == pytest.approx(values[1], rel=CLOSE), key
    for ours, theirs in zip(one.steps, two.steps, strict=True):
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=CLOSE)
    assert any({*step["metrics"]} == {"eval_loss_few", "eval_loss_more"} for step in one.steps)
    assert one.result.train_loss == pytest.approx(two.result.train_loss, rel=CLOSE)
    assert (one.result.steps, one.result.supervised_tokens) == (two.result.steps, two.result.supervised_tokens)
    assert one.result.trainable_parameters == two.result.trainable_parameters
    assert one.adapter.keys() == two.adapter.keys()
    for name, weight in one.adapter.items():
        assert weight.shape == two.adapter[name].shape
        np.testing.assert_allclose(weight, two.adapter[name], atol=1e-4, err_msg=name)
    left = {path.name for path in two.folder.iterdir()}
    assert not left & {RunFolder.TRAINING_STATE, GROUP, SCRATCH, "checkpoint.part"}


def interrupted(monkeypatch: pytest.MonkeyPatch, run: Run, name: str, *words: str) -> None:
    """Begin a run in one process and end it in its fifth step, of which nothing is saved."""
    from framework_plugins.hf.train.trainer import SupervisedTrainer

    plain = SupervisedTrainer.training_step

    def step(self: SupervisedTrainer, *more: Any, **named: Any) -> Any:
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return plain(self, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedTrainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            run(name, *words)


@pytest.mark.slow  # tests/plugins/hf/train/test_strangers.py has another method with DDP
def test_two_processes_with_ddp_are_one_training(run: Run, alone: Done) -> None:
    close(alone, run("ddp", "launch=ddp", *TWO))


def measured_and_exported(alone: Done, done: Done) -> None:
    """Look whether the run measured and exported what its processes trained."""
    loss, again = (
        records.load(EvalResult, each.folder / "evaluate.json").metrics["eval_loss"] for each in (alone, done)
    )
    assert loss == pytest.approx(again, rel=CLOSE)
    exported = load_file(done.folder / "adapter" / "adapter_model.safetensors")  # in fp32, as it was trained
    assert exported.keys() == done.adapter.keys()
    for name, weight in exported.items():
        np.testing.assert_array_equal(weight, done.adapter[name], err_msg=name)


def test_two_processes_with_fsdp2_go_on_with_what_one_began_and_it_is_exported(
    run: Run, alone: Done, monkeypatch: pytest.MonkeyPatch, seen: Seen, tmp_path: Path
) -> None:
    interrupted(monkeypatch, run, "fsdp2", *ALONE)
    with copies.groups(tmp_path):
        done = run("fsdp2", "launch=fsdp2", *TWO, AFTER)
    measured_and_exported(alone, done)
    assert done.result.resumed == 4
    close(alone, done)
    for each in seen():
        assert each["heard from"] == ["127.0.0.1"]  # gloo's; nobody on another machine reaches the group
        assert each["whole"] == 2 * each["here"] > 0
        assert (each["checkpointed"], each["offload"]) == (0, ["OffloadPolicy"])
        assert (each["head"], each["packing"]) == (True, "tree")


STARTED = """
import psutil

from framework import FrameworkError

class Packed:
    def load(self):
        raise FrameworkError("started as " + " ".join(psutil.Process().cmdline()[1:]))
"""
"""In place of a plan: the process that opens it ends, before it imports what trains, and tells its command."""


def test_torchrun_starts_the_processes_of_a_group(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They find what is in this process's path, and do not look into the folder where the run was started."""
    (tmp_path / "acme_packed.py").write_text(STARTED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    packed = importlib.import_module("acme_packed").Packed()
    monkeypatch.setattr("framework_plugins.launch.launcher.pickle_plan", lambda _: packed)
    told = r"^process \d: started as -P -m framework_plugins\.launch\.worker /\S+/started$"
    with pytest.raises(FrameworkError, match=told):
        run("started", "launch=ddp", *TWO)


@pytest.mark.slow
def test_two_replicas_of_two_shards_go_on_with_what_one_process_began(
    run: Run, alone: Done, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    interrupted(monkeypatch, run, "hybrid", *ALONE)
    done = run("hybrid", "launch=fsdp2", *FOUR, AFTER, dp_shard_size=2)
    measured_and_exported(alone, done)
    assert done.result.resumed == 4
    close(alone, done)
    for each in seen(4):
        assert each["whole"] == 2 * each["here"] > 0


@pytest.mark.slow
def test_prompts_are_answered_by_several_processes_as_by_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the training by the base, after it by the trained model."""
    asked, begin = list[AnswerTask](), Helper.__call__

    def counted(helper: Helper, task: AnswerTask) -> Any:
        asked.append(task)
        return begin(helper, task)

    monkeypatch.setattr(Helper, "__call__", counted)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # fewer than processes, which a run on the CPU may have
    prompts = ",".join(f"What is {number} and {'one and ' * (number % 3)}{number}" for number in range(9))
    words = (
        "stages=[data,baseline,train,evaluate]", "evaluator=[prompts]", f"evaluator.prompts.prompts=[{prompts}]",
        "evaluator.prompts.max_new_tokens=8", "trainer.answers_at_once=2",
    )  # fmt: skip
    one, two = run("asked-alone", *ALONE, *words), run("asked", "launch=ddp", *TWO, *words)
    assert [(task.base, task.checkpoint is not None, len(task.starts)) for task in asked] == [
        (True, False, 4),
        (False, True, 4),
    ]
    for stage in ("baseline", "evaluate"):
        answers = [
            [
                (sample.prompt, sample.answer)
                for sample in records.load(EvalResult, done.folder / f"{stage}.json").samples
            ]
            for done in (one, two)
        ]
        assert len(answers[0]) == 9
        assert answers[0] == answers[1]


@pytest.mark.slow
def test_a_signal_to_the_run_has_the_group_save_and_end(run: Run, alone: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, sent = Interruption.asked, list[int]()

    def signalled(interruption: Interruption) -> Interrupted | None:
        error = asked(interruption)
        if not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return error

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "asked", signalled)
        with pytest.raises(Interrupted):
            run("signalled", "launch=ddp", "grace_seconds=300", *TWO)
    assert [path.name for path in (alone.folder.parent / "signalled" / RunFolder.TRAINING_STATE).iterdir()] == [
        "step-00000001"
    ]
    done = run("signalled", "launch=ddp", *TWO)
    assert done.result.resumed == 1
    close(alone, done)


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began_of_which_one_was_killed(
    run: Run, alone: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(group_plugin.END, f"1:5:{int(signal.SIGKILL)}")
    told = r"^launch=fsdp2: process 1 was killed by signal 9 \(SIGKILL\), most likely for lack of memory"
    with pytest.raises(FrameworkError, match=told):
        run("killed", "launch=fsdp2", *TWO)
    done = run("killed", *ALONE)
    assert done.result.resumed == 4
    close(alone, done)


@pytest.mark.slow
def test_the_error_of_one_process_ends_all_within_seconds_and_is_what_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(group_plugin.END, "1:3:raise")
    last: list[float] = []
    plain = TrainingController.step

    def step(self: Any, told: Any) -> Any:
        last.append(time.monotonic())
        return plain(self, told)

    monkeypatch.setattr(TrainingController, "step", step)
    with pytest.raises(
        RuntimeError, match=r"(?s)^launch=ddp: process 1 failed\nTraceback .*LookupError: lost on purpose"
    ):
        run("failed", "launch=ddp", *TWO)
    assert time.monotonic() - last[-1] < 15


@pytest.mark.slow
@pytest.mark.parametrize("words", [("launch=ddp",), ("launch=fsdp2",), ("launch=ddp", "adapter.merge_first=true")])
def test_a_group_starts_from_a_trained_adapter_as_one_process_does(
    run: Run, alone: Done, words: tuple[str, ...]
) -> None:
    """The first loss is that of the adapter, in a group as in one process."""
    start, name = (f"adapter.start={alone.folder}", *words[1:]), "-".join(words).replace("=", "_")
    one, two = run(f"start-{name}-alone", *ALONE, *start), run(f"start-{name}", *TWO, *start, words[0])
    close(one, two)
    assert two.steps[0]["loss"] < 0.9 * alone.steps[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("launch=ddp", "launch.processes=3"), id="three processes, of which one may have no row"),
        pytest.param(("launch=fsdp2", "trainer.packing=pad"), id="padded"),
    ],
)
def test_other_ways_are_the_same_training(run: Run, words: tuple[str, ...]) -> None:
    three = "launch.processes=3" in words
    more = tuple(word for word in words if word.startswith("trainer.packing"))
    one = ("trainer.gradient_accumulation_steps=3",) if three else ALONE
    many = ("trainer.gradient_accumulation_steps=1",) if three else TWO
    name = "-".join(words).replace("=", "_")
    close(run(f"{name}-alone", *one, *more), run(name, *many, *words))


@pytest.mark.slow
def test_all_weights_trained_in_pieces_are_saved_whole(run: Run, seen: Seen) -> None:
    words = ("adapter=full", "trainer.learning_rate=0.001")
    done = run("full", "launch=fsdp2", *TWO, *words)
    assert all(each["head"] for each in seen())
    close(run("full-alone", *ALONE, *words), done)
    config = json.loads((done.folder / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.slow
def test_weights_that_lie_elsewhere_between_their_uses_are_the_same_training(run: Run, alone: Done, seen: Seen) -> None:
    close(alone, run("offload", "launch=fsdp2", *TWO, cpu_offload=True))
    assert [each["offload"] for each in seen()] == [["CPUOffloadPolicy"]] * 2


@pytest.mark.slow
def test_activations_that_are_computed_again_are_so_by_fsdp(run: Run, alone: Done, seen: Seen) -> None:
    close(alone, run("again", "launch=fsdp2", "trainer.gradient_checkpointing=enabled", *TWO))
    assert [each["checkpointed"] for each in seen()] == [2, 2]  # each layer


@pytest.mark.slow
def test_qlora_in_pieces_is_qlora(run: Run, seen: Seen) -> None:
    words = ("quantization=nf4", "optimizer.eps=1e-4")  # else AdamW takes a full step along gradients of rounding size
    close(run("nf4-alone", *words, *ALONE), run("nf4", *words, "launch=fsdp2", *TWO))
    look_at_four_bits(seen(), "torch.float32")


def look_at_four_bits(seen: list[dict[str, Any]], dtype: str) -> None:
    """Look whether half of each weight of 4 bits is here, in numbers of a dtype."""
    for each in seen:
        assert len(each["4 bits"]) == 14
        for stored, here, whole in each["4 bits"]:
            assert (stored, 2 * here) == (dtype, whole)


@pytest.mark.slow
def test_qlora_in_pieces_keeps_its_bits_where_fsdp_casts_to_what_is_computed_in(run: Run, seen: Seen) -> None:
    words = ("quantization=nf4", "trainer.dtype=bf16")
    alone = [step["loss"] for step in run("bf16-alone", *ALONE, *words).steps]
    groups: list[tuple[int, tuple[str, ...], dict[str, int], str]] = [
        (2, TWO, {}, "torch.bfloat16"),
        (4, FOUR, {"dp_shard_size": 2}, "torch.float32"),
    ]
    for processes, group, shards, reduced in groups:
        steps = run(f"bf16-{processes}", "launch=fsdp2", *group, *words, **shards).steps
        assert [step["loss"] for step in steps] == pytest.approx(alone, rel=1e-3)  # bf16 has three digits
        look_at_four_bits(seen(processes), "torch.bfloat16")
        assert all(each["head"] for each in seen(processes))
        assert [each["reduced"] for each in seen(processes)] == [[reduced]] * processes


PROGRAM = """
import sys
from pathlib import Path

from framework.config.compose import compose
from framework.plan.make import make_plan

words = sys.argv[2:]
plan = make_plan(compose(words), run_dir=Path(sys.argv[1]), overrides=tuple(words))
plan.launch.create().launch(plan)
"""


@pytest.mark.slow
def test_where_the_run_itself_is_killed_no_process_is_left(alone: Done, base: Path, tmp_path: Path) -> None:
    words = [
        *(word for word in WORDS if "steps" not in word), "model=local", f"model.path={base}", "data=local_file",
        f"data.path={alone.folder.parent / 'rows.jsonl'}", "adapter.r=4", "launch=ddp", "launch.processes=2",
        "trainer.max_steps=100000",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path / "run"), *words], env=environment) as process:
        try:
            log, end = tmp_path / "run" / "log.jsonl", time.monotonic() + 900  # on a busy machine
            while '"step"' not in (log.read_text(encoding="utf-8") if log.exists() else ""):
                assert time.monotonic() < end
                time.sleep(0.2)
            assert stat.S_IMODE((tmp_path / "run" / GROUP).stat().st_mode) == 0o700
            left = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
    assert len(left) >= 3
    assert psutil.wait_procs(left, timeout=15)[1] == []
    assert not (tmp_path / "run" / GROUP).exists()


@pytest.mark.slow
def test_fsdp_that_does_not_come_up_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(group_plugin.PLAIN, "1")
    told = r"process \d: launch=fsdp2: accelerate started MULTI_CPU instead: on a CPU it has no other"
    with pytest.raises(FrameworkError, match=told):
        run("plain", "launch=fsdp2", *TWO)
