"""An interrupted training, and the one that resumes it."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from framework import FrameworkError
from framework.api import RunFolder, atomic_folder
from framework.api.data import Data
from framework.api.protocols import TrainRun
from framework.api.records import Progress, Step, StepControl, TokenRow, TrainResult
from framework.hooks.session import current
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.train.progress import CheckpointTimer
from framework_plugins.hf.train.resume.checkpoints import MANIFEST, rows_digest
from tests.support.project import project
from tests.support.tiny import chat_rows
from tests.support.training import make, opened

SETTINGS = (
    "trainer.max_steps=8", "trainer.save_steps=2", "trainer.gradient_accumulation_steps=1", "trainer.eval_steps=3",
    "adapter.lora_dropout=0.1", "data.validation_split=0.2", "audit=[]", "trainer.packing=pad",
)  # fmt: skip
"""Eight steps across two epochs of five, with dropout, and validations of which the best is kept."""


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What ends a training in these tests."""


Train = Callable[..., tuple[TrainResult, list[Step]]]
Kept = tuple[Path, TrainResult | None, list[Step]]
Ends = Callable[[int], Path]


@pytest.fixture
def train(base: Path, rows: Path, tmp_path: Path) -> Train:
    """Return a function that trains into a folder, up to the step at which the process ends."""

    def made(name: str, *words: str, end: int | None = None) -> tuple[TrainResult, list[Step]]:
        folder = tmp_path / name
        settings = [word for word in SETTINGS if "adapter=full" not in words or not word.startswith("adapter.")]
        with opened(make(base, rows, folder, *settings, *words)) as (model, data):
            return run(model, data, folder, end)

    return made


@pytest.fixture(scope="module")
def kept(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int | None], Kept]:
    """Return what gives a training that ends at a step, or goes straight on: made once for each, not to be changed."""

    @functools.cache
    def made(end: int | None) -> Kept:
        folder = tmp_path_factory.mktemp("kept")
        with opened(make(base, rows, folder, *SETTINGS)) as (model, data), suppress(Ended):
            return folder, *run(model, data, folder, end)
        return folder, None, []

    return made


@pytest.fixture
def ended(kept: Callable[[int | None], Kept], tmp_path: Path) -> Ends:
    """Return what puts a copy of a training that ended at a step to where `train("ended")` resumes it."""

    def copied(end: int) -> Path:
        return Path(shutil.copytree(kept(end)[0], tmp_path / "ended"))

    return copied


def run(
    model: HFModel, data: Data, folder: Path, end: int | None, ask: Callable[[], BaseException | None] = lambda: None
) -> tuple[TrainResult, list[Step]]:
    told: list[Step] = []
    best = [float("inf")]

    def on_step(step: Step) -> StepControl:
        told.append(step)
        if step.step == end and len(told) >= end:
            raise Ended
        keep = step.eval_loss is not None and step.eval_loss < best[0]
        best[0] = min(best[0], step.eval_loss if step.eval_loss is not None else best[0])
        return StepControl(keep=keep)

    to = TrainRun(folder / "checkpoint", folder / "scratch", on_step, interruption=ask)
    return model.train(data.train, data.validation, to), told


def bare(steps: list[Step]) -> list[Step]:
    return [replace(step, seconds=0.0, repeated=False) for step in steps]


def adapter(folder: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(folder / "adapter_model.safetensors").items()}


@pytest.mark.parametrize("end", [3, 7])
def test_it_goes_on_to_the_same_weights_bit_for_bit(
    train: Train,
    kept: Callable[[int | None], Kept],
    ended: Ends,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    end: int,
) -> None:
    folder, straight, steps = kept(None)
    assert straight is not None
    there = ended(end)
    sent: list[Progress] = []
    monkeypatch.setattr(current().progress, "send", sent.append)
    again, told = train("ended")
    assert adapter(there / "checkpoint") == adapter(folder / "checkpoint")
    assert again.resumed == (end - 1) // 2 * 2
    last = again.resumed
    assert (
        f"the training continues after step {last}, from {RunFolder.TRAINING_STATE}/step-{last:08d}" in caplog.messages
    )
    assert f"step {last + 1}" in [each.line for each in sent]  # in work, which may take a while
    assert bare(told) == bare(steps)
    assert [step.repeated for step in told] == [step.step <= last for step in told]
    assert again.train_loss == straight.train_loss
    names = ("steps", "epochs", "tokens", "supervised_tokens", "computed_tokens", "last_loss")
    assert [getattr(again, name) for name in names] == [getattr(straight, name) for name in names]
    assert (there / RunFolder.TRAINING_STATE).exists()  # until the run has saved the result


@pytest.mark.parametrize("more", ["adapter.args.init_lora_weights=pissa_niter_2", "model.new_tokens=['<new>']"])
def test_what_begins_in_another_way_goes_on_bit_for_bit_too(train: Train, tmp_path: Path, more: str) -> None:
    _, steps = train("straight", more)
    with suppress(Ended):
        train("ended", more, end=3)
    _, told = train("ended", more)
    assert bare(told) == bare(steps)
    assert adapter(tmp_path / "ended" / "checkpoint") == adapter(tmp_path / "straight" / "checkpoint")


def asked_after(step: int) -> Callable[[], BaseException | None]:
    """Return what asks a training to end after a step."""
    calls: list[None] = []

    def ask() -> BaseException | None:
        calls.append(None)
        return Ended() if len(calls) >= step else None

    return ask


def test_a_signal_makes_a_checkpoint_after_its_step(base: Path, rows: Path, train: Train, tmp_path: Path) -> None:
    words = ("trainer.save_steps=null", "trainer.logging_steps=3", "trainer.eval_steps=8")
    straight, steps = train("straight", *words)
    settings = [word for word in SETTINGS if not word.startswith(("trainer.save_steps", "trainer.eval_steps"))]
    with opened(make(base, rows, tmp_path / "ended", *settings, *words)) as (model, data), pytest.raises(Ended):
        run(model, data, tmp_path / "ended", None, asked_after(5))
    assert [path.name for path in (tmp_path / "ended" / RunFolder.TRAINING_STATE).iterdir()] == ["step-00000005"]
    again, told = train("ended", *words)
    assert again.resumed == 5
    assert adapter(tmp_path / "ended" / "checkpoint") == adapter(tmp_path / "straight" / "checkpoint")
    assert bare(told) == bare(steps)
    assert again.last_loss == straight.last_loss


def test_a_signal_in_the_last_step_lets_the_training_end(base: Path, rows: Path, tmp_path: Path) -> None:
    with opened(make(base, rows, tmp_path, *SETTINGS, "trainer.max_steps=2")) as (model, data):
        result, _ = run(model, data, tmp_path, None, asked_after(2))
    assert result.steps == 2
    assert (tmp_path / "checkpoint" / "adapter_model.safetensors").exists()


def test_checkpoints_come_by_time_too(train: Train, tmp_path: Path) -> None:
    result, _ = train("timed", "trainer.save_steps=null", "trainer.save_seconds=1e-6", "trainer.save_total_limit=100")
    folders = sorted((tmp_path / "timed" / RunFolder.TRAINING_STATE).iterdir())
    assert folders
    assert all(int(folder.name.partition("-")[2]) < result.steps for folder in folders)


def test_checkpoints_by_time_take_two_percent_of_the_training() -> None:
    now = 0.0
    pace = CheckpointTimer(600, lambda: now)
    now = 599
    assert not pace.is_due()
    now = 600
    assert pace.is_due()
    with pace.saving():
        now += 60
    now += 2999
    assert not pace.is_due()
    now += 1
    assert pace.is_due()
    assert not CheckpointTimer(None, lambda: now).is_due()


def test_so_do_all_weights_of_a_model(train: Train, tmp_path: Path) -> None:
    full = ("adapter=full", "trainer.learning_rate=0.1")  # far too high, so that the best validation is an early one
    _, steps = train("straight", *full)
    with pytest.raises(Ended):
        train("ended", *full, end=5)
    again, told = train("ended", *full)
    assert (again.resumed, bare(told)) == (4, bare(steps))
    files = [load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("straight", "ended")]
    assert all((files[0][name] == files[1][name]).all() for name in files[0])


def test_what_is_damaged_is_passed_over(train: Train, ended: Ends, caplog: pytest.LogCaptureFixture) -> None:
    folder = ended(7) / RunFolder.TRAINING_STATE
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000004", "step-00000006"]
    weights = folder / "step-00000006" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert train("ended")[0].resumed == 4
    damaged = "skipped as damaged: step-00000006 (weights.safetensors)"
    assert f"the training continues after step 4, from .resume/step-00000004; {damaged}" in caplog.messages
    # The damaged one has been replaced, as the training came to its step again.
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000004", "step-00000006"]


def test_a_damaged_one_is_not_kept_instead_of_a_whole_one(train: Train, ended: Ends, tmp_path: Path) -> None:
    weights = ended(7) / RunFolder.TRAINING_STATE / "step-00000006" / "weights.safetensors"
    weights.write_bytes(b"")
    words = ("trainer.save_steps=5", "trainer.save_total_limit=1")
    with pytest.raises(Ended):
        train("ended", *words, end=6)
    names = sorted(path.name for path in (tmp_path / "ended" / RunFolder.TRAINING_STATE).iterdir())
    assert names == ["step-00000005"]


@pytest.mark.parametrize("manifest", ['{"settings": 5, "rows": "x", "files": {}}', "[]"])
def test_what_no_training_wrote_is_passed_over(train: Train, ended: Ends, manifest: str) -> None:
    folder = ended(5) / RunFolder.TRAINING_STATE
    (folder / "step-abc").mkdir()
    (folder / "step-00000004" / MANIFEST).write_text(manifest, encoding="utf-8")
    assert train("ended")[0].resumed == 2


def _forged(folder: Path, name: str, change: Callable[[Path], None]) -> None:
    """Change a file of the newest checkpoint, and its hash."""
    change(folder / name)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    manifest["files"] = {key: value for key, value in files.items() if key != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _far(file: Path) -> None:
    torch.save({**torch.load(file, weights_only=True), "step": 10**9}, file)


def _reshaped(file: Path) -> None:
    held = torch.load(file, weights_only=True)
    next(iter(held["states"].values()))["exp_avg_sq"] = torch.zeros(3)
    torch.save(held, file)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("rest.pt", _far, "ValueError: its step is 1000000000"),
        ("weights.safetensors", lambda file: save_file({}, file), "ValueError: weights.safetensors has other weights"),
        ("optimizer.pt", _reshaped, "ValueError: optimizer.pt has exp_avg_sq of 3 for .+ of 4 x 64"),
        ("rest.pt", lambda file: torch.save([Path("a")], file), "UnpicklingError: "),
    ],
)
def test_a_forged_one_is_named(train: Train, ended: Ends, name: str, change: Callable[[Path], None], told: str) -> None:
    checkpoint = ended(5) / RunFolder.TRAINING_STATE / "step-00000004"
    _forged(checkpoint, name, change)
    with pytest.raises(FrameworkError, match=rf"^{checkpoint} does not hold the state of this training \({told}"):
        train("ended")


def test_a_file_where_the_checkpoints_belong_is_named(train: Train, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / RunFolder.TRAINING_STATE).write_text("", encoding="utf-8")
    with pytest.raises(
        FrameworkError, match=r"step-00000002 cannot be made: .+ Remove .+\.resume, or set another run_dir"
    ):
        train("new")


def failing(step: int, error: Exception) -> Callable[..., AbstractContextManager[Path]]:

    @contextmanager
    def folder(final: Path, *, replace: bool) -> Iterator[Path]:
        with atomic_folder(final, replace=replace) as half:
            yield half
            if final.name.endswith(str(step)):
                raise error

    return folder


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EIO, "Input/output error"),
        SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
    ids=["no space", "quota", "broken disk", "safetensors", "torch"],
)
def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr("framework_plugins.hf.train.resume.checkpoints.atomic_folder", failing(4, error))
    with pytest.raises(Ended):
        train("full", end=6)
    assert [path.name for path in (tmp_path / "full" / RunFolder.TRAINING_STATE).iterdir()] == ["step-00000002"]
    assert any(text.startswith("step 4: no checkpoint was saved, the training continues: ") for text in caplog.messages)
    assert train("full")[0].resumed == 2


def test_where_all_are_damaged_it_begins_anew(train: Train, ended: Ends, caplog: pytest.LogCaptureFixture) -> None:
    folder = ended(5) / RunFolder.TRAINING_STATE
    (folder / "step-00000002" / "optimizer.pt").unlink()
    (folder / "step-00000004" / MANIFEST).write_text("{", encoding="utf-8")
    result, _ = train("ended")
    assert (result.resumed, result.steps) == (0, 8)
    damaged = f"step-00000004 ({MANIFEST}), step-00000002 (optimizer.pt)"
    assert f"the training begins at its first step; skipped as damaged: {damaged}" in caplog.messages


def test_another_training_is_refused_before_anything_is_measured(
    base: Path, train: Train, ended: Ends, tmp_path: Path
) -> None:
    ended(5)
    told = r"step-00000004 belongs to a training with trainer\.learning_rate=0\.01: restore that, "
    with pytest.raises(FrameworkError, match=told):
        train("ended", "trainer.learning_rate=0.02")
    with pytest.raises(FrameworkError, match=r"a training with adapter=lora: restore that"):
        train("ended", "adapter=rslora")
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(13)), encoding="utf-8")
    with (
        opened(make(base, other, tmp_path / "ended", *SETTINGS)) as (model, data),
        pytest.raises(FrameworkError, match="a training with other rows"),
    ):
        run(model, data, tmp_path / "ended", None)


def of_the_loop_before(folder: Path) -> None:
    """Write a checkpoint as the last version with transformers' Trainer did: its step is in its name only."""
    rest = torch.load(folder / "rest.pt", weights_only=True)
    del rest["step"]
    torch.save(rest, folder / "rest.pt")
    (folder / "trainer_state.json").write_text('{"global_step": 4}', encoding="utf-8")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name in ("rest.pt", "trainer_state.json"):
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_a_checkpoint_of_the_loop_before_is_continued_bit_for_bit(
    train: Train, kept: Callable[[int | None], Kept], ended: Ends
) -> None:
    folder, _, steps = kept(None)
    there = ended(5)
    of_the_loop_before(there / RunFolder.TRAINING_STATE / "step-00000004")
    again, told = train("ended")
    assert again.resumed == 4
    assert bare(told) == bare(steps)
    assert adapter(there / "checkpoint") == adapter(folder / "checkpoint")


OF_0_1_0 = {
    "rows of a step": 8, "seed": 42, "model": "local", "adapter": "lora", "adapter.r": 4, "trainer": "hf",
    "trainer.max_steps": 8, "trainer.lr_scheduler_type": "linear", "trainer.optim": "adamw_torch",
    "trainer.adam_beta1": 0.9, "trainer.optim_args": {}, "trainer.group_by_prefix": True,
}  # fmt: skip
"""Of the settings that release 0.1.0 wrote into a checkpoint."""


def test_a_checkpoint_of_the_first_release_is_refused_by_name(base: Path, rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / RunFolder.TRAINING_STATE / "step-00000004"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "overrides.json").write_text("[]", encoding="utf-8")
    manifest = {"settings": OF_0_1_0, "rows": "", "files": {}}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    words = ["model=local", f"model.path={base}", "data=local_file", f"data.path={rows}", "adapter.r=4"]
    result = project(tmp_path).run(*words, "trainer.max_steps=8", "run_dir=run", "stages=[data,train]", "logger=[]")
    assert result.code == 2
    assert result.err.splitlines() == [
        f"{folder} belongs to a training with trainer.lr_scheduler_type=linear: no setting here has this name, so "
        f"another version of this program wrote it: continue with that, remove {folder.parent} to start from the "
        "beginning, or set another run_dir"
    ]


def test_the_rows_of_a_step_may_be_divided_otherwise(train: Train, ended: Ends) -> None:
    ended(5)
    words = ("trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=2")
    assert train("ended", *words)[0].resumed == 4


def test_every_row_counts_for_whether_they_are_the_same() -> None:
    rows = [TokenRow([number, 2], [-100, 2]) for number in range(1000)]
    changed = [*rows[:501], TokenRow([501, 2], [501, 2]), *rows[502:]]
    assert (
        len({rows_digest(rows), rows_digest(changed), rows_digest(rows[:-1]), rows_digest([*rows[1:], rows[0]])}) == 4
    )
    assert rows_digest(rows) == rows_digest([*rows])
