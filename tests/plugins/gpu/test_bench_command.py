"""`bench-gpu`: what it says before it starts, what it refuses, that it continues, and a dry run on the CPU."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from framework import FrameworkError
from framework.api import GIB
from framework.cli.main import run_command
from framework_plugins.gpu import bench_command, environments
from framework_plugins.gpu.card import Card, Environment, Probe, chosen
from framework_plugins.gpu.contenders import (
    CONTENDERS,
    OURS,
    TRL,
    TRL_PACKED,
    UNSLOTH,
    Bench,
    MissingError,
    NoTimeError,
    NotInstalledError,
)
from framework_plugins.gpu.environments import DiskFullError, PeerEnvironment, environment
from framework_plugins.gpu.parts import all_parts
from framework_plugins.gpu.results import Measured, load_results, rate

PART, OTHER = "llama1b-nf4-8-alpaca", "llama8b-nf4-12-alpaca"
RTX = {"name": "NVIDIA GeForce RTX 3060", "memory": round(11.8 * GIB), "capability": "8.6"}
T4 = {"name": "Tesla T4", "memory": round(14.6 * GIB), "capability": "7.5"}


def probed(cards: list[dict[str, Any]], **more: Any) -> Probe:
    given: dict[str, Any] = {"driver": "580.65", "cuda": "13.0", "cards": cards, "versions": {"torch": "2.13.0"}} | more
    return Probe("3.12.1", "Linux", **given)


def test_there_are_fifteen_parts_and_the_first_ones_fit_a_small_gpu() -> None:
    known = all_parts()
    assert len(known) == 15
    assert next(iter(known)) == PART
    assert {part.limit for part in known.values()} == {8, 12, 24}
    assert "llama8b-16bit-12-long" not in known  # its weights alone take 15 GiB


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (probed([], cuda=None, driver=""), "needs a CUDA GPU, and torch 2.13.0 is built without CUDA"),
        (probed([], driver=""), r"torch 2.13.0 sees none \(no NVIDIA driver\)\. --dry goes"),
        (
            probed([], problem="The NVIDIA driver on your system is too old (found version 11040)", driver="470.1"),
            "the driver 470.1 is too old for torch 2.13.0, which is built for CUDA 13.0. Update the driver",
        ),
        (
            probed([RTX, T4]),
            r"different ones are visible \(0: NVIDIA GeForce RTX 3060, 11.8 GiB, 1: Tesla T4, 14.6 GiB\)",
        ),
    ],
    ids=["CPU build", "no GPU", "old driver", "two different GPUs"],
)
def test_a_machine_that_cannot_be_measured_is_refused_with_the_fix(
    found: Probe, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(FrameworkError, match=message):
        chosen(found, "bench-gpu", "--dry goes")


def test_of_equal_gpus_the_first_is_measured_and_one_without_bf16_in_fp16() -> None:
    assert chosen(probed([RTX, RTX]), "bench-gpu", "").dtype == "bf16"
    assert chosen(probed([T4]), "bench-gpu", "").dtype == "fp16"


class Stand:
    """`bench-gpu` on a GPU that is made up, with trainings that are made up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.work = folder / "bench-gpu.json", folder / "work"
        self.asked: list[str] = []
        self.lacking: set[str] = set()
        self.card: dict[str, Any] = RTX
        self.fail: dict[str, BaseException] = {}
        monkeypatch.setattr(bench_command, "probe", lambda _: probed([self.card]))
        monkeypatch.setattr(bench_command, "environment", self._environment)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=GIB, used=0, free=100 * GIB))
        monkeypatch.setattr(bench_command, "PythonProcess", Prepared)
        train = self._train
        monkeypatch.setattr(Bench, "train", lambda bench, who: train(bench, who))  # noqa: PLW0108 - one of Bench
        monkeypatch.setattr(Bench, "held_out", lambda _, adapters: dict.fromkeys(adapters, 11.5))

    def _environment(self, peer: PeerEnvironment, *_: object) -> Environment:
        if peer.name in self.lacking:
            return Environment(None, missing="PyPI cannot be reached", try_again=True)
        return Environment(Path(sys.executable), {"trl": "1.16.0"})

    def _train(self, bench: Bench, who: str) -> Measured:
        if who == UNSLOTH and bench.environments["unsloth"].python is None:
            raise NotInstalledError(bench.environments["unsloth"].missing)
        if who in self.fail:
            raise self.fail.pop(who)
        self.asked.append(who)
        bench.adapter(who).mkdir(parents=True)
        seconds = [2.0, 2.0, 1.0]
        return Measured(seconds, rate(60, seconds), first_losses=[11.8])

    def run(self, *words: str) -> int:
        given = [f"--results={self.file}", f"--folder={self.work}", f"--part={PART}", *words]
        return run_command("bench-gpu", given)

    @property
    def part(self) -> Any:
        return load_results(self.file).parts[PART]


class Prepared:
    """A stand-in for the process that writes weights and rows."""

    def __init__(self, **_: object) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def call(self, function: str, *arguments: Any, **_: object) -> None:
        if function.endswith("write_rows"):
            lines = "".join(json.dumps({"input_ids": [1] * 20}) + "\n" for _ in range(3))
            (arguments[-1] / "train_tokens.jsonl").write_text(lines, encoding="utf-8")
        else:
            arguments[-1].mkdir(parents=True)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Return a GPU that is made up."""
    return Stand(tmp_path, monkeypatch)


def test_time_and_gigabytes_are_said_before_anything_starts(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    assert stand.run() == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "bench-gpu: 1 part on NVIDIA GeForce RTX 3060, 11.8 GiB, at most about 25 min"
    assert lines[1].endswith(": trl (6 GiB) and unsloth (8 GiB); about 7 GB to download")
    assert lines[3].startswith("  on disk: 18 GiB, ")
    assert stand.part.results.keys() == {*CONTENDERS}
    assert {each.held_out_loss for each in stand.part.results.values()} == {11.5}
    assert [path.name for path in stand.work.iterdir()] == ["llama1b"]  # what the part wrote is gone


def test_no_room_on_the_disk_is_said_before_anything_is_written(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=GIB, used=0, free=5 * GIB))
    with pytest.raises(FrameworkError, match=r"needs 18 GiB in .*, and 5 GiB are free: set --folder=FOLDER"):
        stand.run()
    assert not stand.work.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NoTimeError(), DiskFullError(), OSError(errno.ENOSPC, "full")])
def test_a_part_that_was_cut_short_keeps_what_it_has_and_continues(
    error: BaseException, stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.fail = {TRL_PACKED: error}
    try:
        code: object = stand.run()
    except (KeyboardInterrupt, FrameworkError) as raised:
        code = raised
    assert stand.part.results.keys() == {OURS, TRL}
    told = f"{capsys.readouterr().err}{code}"
    assert "the same command" in told
    assert ("is full" in told) is isinstance(error, DiskFullError | OSError)
    assert stand.run() == 0
    assert stand.asked == [*CONTENDERS]  # each once
    assert {each.held_out_loss for each in stand.part.results.values()} == {11.5}
    assert stand.run() == 0
    assert stand.asked == [*CONTENDERS]
    assert stand.run("--again") == 0
    assert stand.asked == [*CONTENDERS] * 2


def test_a_peer_that_cannot_be_had_is_a_row_that_says_so_and_is_tried_again(stand: Stand) -> None:
    stand.lacking = {"unsloth"}
    stand.fail = {TRL: MissingError("CUDA out of memory")}
    assert stand.run() == 0
    assert stand.part.missing == {TRL: "CUDA out of memory", UNSLOTH: "PyPI cannot be reached"}
    stand.lacking = set()
    assert stand.run() == 0
    assert stand.part.missing == {TRL: "CUDA out of memory"}
    assert UNSLOTH in stand.part.results


def test_results_of_another_gpu_are_not_added_to(stand: Stand) -> None:
    stand.run()
    stand.card = T4
    with pytest.raises(FrameworkError, match=r"has results with card NVIDIA GeForce RTX 3060, .* and this is Tesla T4"):
        stand.run()


def test_parts_for_larger_gpus_are_passed_over_and_unknown_ones_refused(stand: Stand) -> None:
    stand.card = RTX | {"memory": 8 * GIB}
    assert stand.run(f"--part={OTHER}") == 0
    assert load_results(stand.file).parts.keys() == {PART}
    stand.card = RTX | {"memory": 4 * GIB}
    with pytest.raises(FrameworkError, match=r"4.0 GiB is too small: the chosen parts need at least 8 GiB"):
        stand.run("--again", f"--results={stand.work / 'small.json'}")
    with pytest.raises(FrameworkError, match=r"unknown part 'llama1b-nf4-8-alpacca'. Did you mean"):
        stand.run("--part=llama1b-nf4-8-alpacca")


def test_a_file_that_cannot_be_written_is_refused_before_anything_starts(stand: Stand) -> None:
    for place in (stand.work / "nowhere" / "bench.json", "/proc/bench.json"):
        with pytest.raises(FrameworkError, match=f"--results={place} cannot be written: .* name another file"):
            stand.run(f"--results={place}")
    assert not stand.work.exists()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a part with two rows, on a GPU of 24 GiB."""
    (tmp_path / "train_tokens.jsonl").write_text('{"input_ids": [1, 2]}\n' * 2, encoding="utf-8")
    here = Environment(Path(sys.executable), {"kernels": "0.18", "liger-kernel": "0.8"})
    card = Card("NVIDIA A10", 24 * GIB, "8.6")
    until = time.monotonic() + 60
    return Bench(all_parts()[PART], tmp_path / "base", tmp_path, card, {"trl": here, "framework": here}, until)


def test_trl_packs_with_the_best_attention_that_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def peer(_: Bench, __: str, ___: str, rows: tuple[int, int], **settings: Any) -> Measured:
        tried.append(settings["attention"])
        assert rows == (1, 1)
        if settings["attention"] != "sdpa":
            raise MissingError("not built for this torch")
        return Measured([1.0], 4.0)

    monkeypatch.setattr(Bench, "_peer", peer)
    assert bench.train(TRL_PACKED).tokens_per_second == 4.0
    assert tried == ["kernels-community/flash-attn2", "flex_attention", "sdpa"]


@pytest.mark.parametrize("who", [TRL, TRL_PACKED])
@pytest.mark.parametrize(("try_again", "error"), [(True, NotInstalledError), (False, MissingError)])
def test_only_a_contender_that_could_not_be_installed_is_tried_again(
    bench: Bench, who: str, *, try_again: bool, error: type[Exception]
) -> None:
    lacking = Environment(None, missing="PyPI cannot be reached", try_again=try_again)
    with pytest.raises(MissingError, match=r"^PyPI cannot be reached$") as raised:
        replace(bench, environments={"trl": lacking}).train(who)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import sys; sys.exit('in /home/me/x.py: CUDA error')", MissingError, "in …/x.py: CUDA error"),
        ("raise OSError('[Errno 28] No space left on device')", DiskFullError, "^$"),
    ],
)
def test_a_training_that_fails_says_why(bench: Bench, code: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bench._run([sys.executable, "-c", code], bench.folder / "log", expand=True)  # noqa: SLF001 - the seam


def test_a_loss_that_is_not_a_number_is_a_reason_and_no_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"seconds": [1.0, 1.0], "losses": [11.8, math.nan], "gpu_bytes": 0, "gpu_reserved": 0}

    def run(*_: object, **__: object) -> None:
        (bench.adapter(TRL).parent / "result.json").write_text(json.dumps(result), encoding="utf-8")

    monkeypatch.setattr(Bench, "_run", run)
    with pytest.raises(MissingError, match="its loss is nan in step 2"):
        bench.train(TRL)


def test_a_training_has_the_memory_of_its_part_and_one_gpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code = "import os; print(os.environ['PYTORCH_ALLOC_CONF'], os.environ['CUDA_VISIBLE_DEVICES'])"
    bench._run([sys.executable, "-c", code], bench.folder / "log", expand=True)  # noqa: SLF001 - the seam
    told = (bench.folder / "log").read_text(encoding="utf-8").split()
    assert told == ["per_process_memory_fraction:0.3333,expandable_segments:True", "0"]


def test_an_environment_is_made_once_and_a_requirement_that_no_index_has_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(command: list[str | Path], *_: float) -> None:
        words = list(map(str, command))
        ran.append(words)
        if "venv" in words:
            python = tmp_path / "acme" / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        if "nothing==1" in words or "flash-attn" in words:
            raise environments._FailedError("ERROR: No matching distribution found for nothing==1")  # noqa: SLF001

    monkeypatch.setattr(environments, "_run", run)
    monkeypatch.setattr(environments, "probe", lambda _: probed([RTX]))
    peer, said = PeerEnvironment("acme", ("trl==1.16.0",), ("flash-attn",)), list[str]()
    for _ in range(2):
        assert environment(peer, tmp_path, "2.13.0+cu130", said.append).versions == {"torch": "2.13.0"}
    assert len(said) == 1
    assert ran[1][-2:] == ["trl==1.16.0", "torch==2.13.0"]
    assert "--only-binary" in ran[2]
    monkeypatch.setattr(environments, "probe", lambda _: probed([], problem="too old"))
    assert environment(peer, tmp_path, "2.13.0+cu130", said.append).missing == (
        "no environment: torch 2.13.0 for CUDA 13.0 sees no GPU there too old"
    )
    lacking = environment(PeerEnvironment("none", ("nothing==1",)), tmp_path, "2.13.0", said.append)
    assert lacking.missing == "no environment: ERROR: No matching distribution found for nothing==1"
    assert lacking.try_again


@pytest.mark.slow
def test_a_dry_run_goes_through_a_part_with_each_quantization(tmp_path: Path) -> None:
    """Ten processes that import torch: two minutes."""
    names = ["llama1b-nf4-8-shared", "llama8b-16bit-24-alpaca"]
    file = tmp_path / "dry.json"
    words = [f"--part={name}" for name in names]
    assert run_command("bench-gpu", ["--dry", f"--folder={tmp_path / 'work'}", f"--results={file}", *words]) == 0
    known = load_results(file)
    assert [*known.parts] == names
    assert os.uname().nodename not in file.read_text(encoding="utf-8")
    for made in known.parts.values():
        assert {OURS, TRL, TRL_PACKED} <= made.results.keys()
        held = [each.held_out_loss for each in made.results.values()]
        assert held == pytest.approx([held[0]] * len(held), rel=0.05)
        first = [each.first_losses[0] for each in made.results.values()]
        assert first == pytest.approx([first[0]] * len(first), rel=0.05)
