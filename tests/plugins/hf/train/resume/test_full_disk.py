"""A run of a tiny model on a disk that is really full."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.forked_program import Result, launch, trainers
from tests.support.tiny import chat_rows, tiny_llama

LIMITED = (
    "python",
    "-c",
    "import os, resource; size = int(os.environ['LIMIT']); resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
    "from framework.cli.main import main; main()",
)
WORDS = (
    "model=local", "model.path=model", "data=local_file", "data.path=rows.jsonl", "trainer.device=cpu",
    "trainer.dtype=fp32", "metric=[exact_match]", "evaluator=[]", "exporter=[adapter]", "logger=[jsonl]", "adapter.r=4",
    "trainer.max_steps=6", "trainer.save_steps=2", "audit=[]", "trainer.gradient_accumulation_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    tiny_llama(folder / "model")
    lines = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    return folder


Disk = Callable[[int], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return what mounts a small disk; skip where that is not allowed."""
    made: list[Path] = []

    def mounted(kilobytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a tmpfs cannot be mounted here: {error}")
        made.append(folder)
        return folder

    yield mounted
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


def run(place: Path, folder: Path, *words: str, limit: int = -1) -> Result:
    """Run where no file may grow beyond `limit` bytes."""
    env = {"HF_HUB_OFFLINE": "1", "LIMIT": str(limit)}
    return launch(LIMITED, *WORDS, f"run_dir={folder}", *words, cwd=place, env=env, of=trainers())


def check(done: Result, folder: Path) -> None:
    """A run continues without its checkpoints, or ends in two lines."""
    assert done.code in {0, 2}, done.err
    assert "Traceback" not in done.err
    told = [line for line in done.err.splitlines() if not line.startswith(("step ", "logger ", "plugin "))]
    assert len(told) == (2 if done.code else 0), done.err
    assert not list(folder.rglob("*.part"))
    if (folder / "status.json").exists():
        state = json.loads((folder / "status.json").read_text(encoding="utf-8"))["state"]
        assert state == ("failed" if done.code else "finished")


@pytest.mark.parametrize("kilobytes", [120, 420])
def test_a_small_disk(place: Path, disk: Disk, kilobytes: int) -> None:
    folder = disk(kilobytes) / "run"
    done = run(place, folder)
    check(done, folder)
    if done.code:
        assert "MB are free there" in done.err
        assert "-m framework resume" in done.err or "Set run_dir=FOLDER" in done.err


@pytest.mark.parametrize(("limit", "code"), [(8_000, 2), (60_000, 0)], ids=["no adapter", "no checkpoint"])
def test_no_file_may_be_large(place: Path, tmp_path: Path, limit: int, code: int) -> None:
    done = run(place, tmp_path / "run", limit=limit)
    check(done, tmp_path / "run")
    assert done.code == code
    assert "step 2: no checkpoint was saved, the training continues: " in done.err
