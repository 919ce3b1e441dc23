"""Where the study of a sweep is kept, and the error where it cannot be opened."""

import subprocess
import sys
from pathlib import Path

import pytest

from framework import FrameworkError
from framework_plugins.sweeps.config import Direction, Optuna5Config
from framework_plugins.sweeps.storage import open_storage, storage_of
from framework_plugins.sweeps.study import open_study


def test_the_study_lies_in_the_folder_in_a_file_or_behind_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_of(Optuna5Config(), tmp_path) == str(tmp_path / "study.journal")
    assert storage_of(Optuna5Config(storage="all.journal"), tmp_path / "x") == str(tmp_path / "all.journal")
    assert storage_of(Optuna5Config(storage="sqlite:///a.db"), tmp_path) == "sqlite:///a.db"


def test_a_password_in_a_url_is_not_reported() -> None:
    with pytest.raises(FrameworkError, match=r"storage=nosuch://… cannot be opened") as caught:
        open_storage("nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["hello", "hello\n", '{"instruction": "1?"}\n', "3\n", "SQLite format 3\0\x10\n"])
def test_a_file_that_is_no_journal_is_reported_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FrameworkError) as caught:
        open_study(Optuna5Config(), "mine", str(file), Direction.minimize)
    assert str(caught.value) == (
        "hydra.sweeper.storage=rows.jsonl is not the journal of a study: name another file, or a database by its URL, "
        "sqlite:///rows.jsonl"
    )
    assert file.read_text(encoding="utf-8") == text


def test_an_empty_file_becomes_a_journal_and_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    file.touch()
    for _ in range(2):
        open_study(Optuna5Config(), "mine", str(file), Direction.minimize).ask()
    assert len(open_study(Optuna5Config(), "mine", str(file), Direction.minimize).trials) == 2


OPENS = """
import sys
from framework_plugins.sweeps.config import Direction, Optuna5Config
from framework_plugins.sweeps.study import open_study

print("ready", flush=True)
for line in sys.stdin:
    try:
        study = open_study(Optuna5Config(), "mine", line.strip(), Direction.minimize)
        study.tell(study.ask(), 1.0)
        print("told", flush=True)
    except Exception as error:
        print(error, flush=True)
"""


def process() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_begin_a_database_at_the_same_time_share_one_study(tmp_path: Path) -> None:
    with process() as one, process() as other:
        both = [(each.stdin, each.stdout) for each in (one, other) if each.stdin and each.stdout]
        assert [answers.readline() for _, answers in both] == ["ready\n"] * 2
        for number in range(4):  # without a second try, eleven of twelve rounds fail
            place = f"sqlite:///{tmp_path}/{number}.db"
            for orders, _ in both:
                orders.write(f"{place}\n")
            for orders, _ in both:
                orders.flush()
            assert [answers.readline() for _, answers in both] == ["told\n"] * 2
            assert len(open_study(Optuna5Config(), "mine", place, Direction.minimize).trials) == 2
