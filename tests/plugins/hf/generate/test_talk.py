"""A run of the HF backend that is talked to: what is forgotten by its tokens, and what full fine-tuning cannot tell."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.cli.main import run_command
from framework.run import pipeline
from framework.util.errors import FrameworkError
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make

LONG = "Which number follows the other? " * 40
"""Some three hundred tokens; the model reads 2048."""
Talk = Callable[..., list[dict[str, object]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_llama(tmp_path_factory.mktemp("base"))
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(20))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Pipe lines into the command, and return what it says as JSON."""

    def talked(run: Path, *words: str, lines: str) -> list[dict[str, object]]:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert run_command("chat", [str(run), "--json", "--max-new-tokens", "8", *words]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return talked


def train(base: Path, folder: Path, *more: str) -> Path:
    plan = make(base, base / "rows.jsonl", folder, "stages=[plan,data,train]", *more)
    pipeline.run(plan)
    return plan.run_dir


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(base, tmp_path_factory.mktemp("talk") / "run")


def test_the_oldest_turns_are_forgotten_by_the_tokens_of_the_template(run: Path, talk: Talk) -> None:
    dropped = [said["dropped"] for said in talk(run, lines=f"{LONG}\n" * 8)]
    assert dropped[0] == 0
    assert dropped[-1] == 1
    with pytest.raises(
        FrameworkError, match=r"^this prompt has \d+ tokens, but tuned reads 2048 with the answer: shorten it$"
    ):
        talk(run, lines=LONG * 20)


def test_base_and_tuned_answer_and_a_seed_draws_the_same(run: Path, talk: Talk) -> None:
    words = ("--both", "--temperature", "1", "--seed", "3")
    said = talk(run, *words, lines="1\n")
    assert [one["speaker"] for one in said] == ["base", "tuned"]
    assert talk(run, *words, lines="1\n") == said


def test_full_fine_tuning_keeps_no_base(base: Path, tmp_path: Path, talk: Talk) -> None:
    run = train(base, tmp_path / "run", "adapter=full")
    assert [one["speaker"] for one in talk(run, lines="1\n")] == ["tuned"]
    for words, lines in ((["--both"], ""), ([], "/base\n")):
        with pytest.raises(FrameworkError, match=r"^full fine-tuning keeps no base"):
            talk(run, *words, lines=lines)
