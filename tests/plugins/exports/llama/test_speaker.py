"""exports/llama/speaker.py: real llama.cpp and the real SmolLM2 that comes in a package."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.records import Artifact, ExportResult, Message, Prompt
from framework.api.run_folder import SavedRun
from framework.cli.main import run_command
from framework.rundir.folder import WritableRunFolder
from framework.rundir.read import read_run
from framework_plugins.exports.config import GgufSpeakerConfig
from framework_plugins.exports.llama.speaker import GgufSpeaker, GgufSpeakers
from framework_plugins.quickstart.smollm2 import gguf_file
from tests.support.forked_program import execute

NEW = 12
PROMPT = Prompt((Message("user", "What is the capital of France?"),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SavedRun:
    """Return a run that has exported nothing yet."""
    folder = tmp_path_factory.mktemp("run")
    WritableRunFolder.create(testing.plan([], run_dir=folder))
    return read_run(folder)


@pytest.fixture(scope="module")
def speaker(run: SavedRun) -> Iterator[GgufSpeaker]:
    with GgufSpeakers(GgufSpeakerConfig()).open(run, str(gguf_file())) as opened:
        yield opened


def test_the_pieces_are_the_greedy_answer(speaker: GgufSpeaker) -> None:
    llama = speaker._llama  # noqa: SLF001 - what it says by itself
    ids = llama.tokenize(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    wanted = llama.text(llama.complete(ids, max_new_tokens=NEW).ids)
    pieces = list(speaker.stream(PROMPT, max_new_tokens=NEW, seed=None))
    assert "".join(pieces) == wanted
    assert len(pieces) == NEW
    assert speaker.count(PROMPT) == len(ids)
    assert speaker.context == 8192


def test_one_seed_draws_one_answer(speaker: GgufSpeaker) -> None:
    drawn = [
        "".join(speaker.stream(PROMPT, max_new_tokens=NEW, temperature=1.2, top_p=0.95, seed=seed))
        for seed in (7, 7, 8)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_answer_may_be_left(speaker: GgufSpeaker) -> None:
    first = "".join(speaker.stream(PROMPT, max_new_tokens=NEW, seed=None))
    left = speaker.stream(PROMPT, max_new_tokens=NEW, seed=None)
    next(left)
    del left
    other = Prompt((Message("user", "Say yes."),))
    assert "".join(speaker.stream(other, max_new_tokens=2, seed=None)) != first
    assert "".join(speaker.stream(PROMPT, max_new_tokens=NEW, seed=None)) == first


def test_the_first_file_that_the_run_exported_is_taken(run: SavedRun) -> None:
    made = [Artifact("gguf_adapter", "a.gguf", 1), Artifact("gguf", "gone.gguf", 1), Artifact("gguf", "q.gguf", 1)]
    records.save(ExportResult(made), run.folder / "export.json")
    (run.folder / "a.gguf").write_bytes(b"")
    (run.folder / "q.gguf").symlink_to(gguf_file())
    try:
        with GgufSpeakers(GgufSpeakerConfig()).open(run, "") as opened:
            assert opened._llama.file == run.folder / "q.gguf"  # noqa: SLF001 - nothing else tells
    finally:
        for name in ("export.json", "a.gguf", "q.gguf"):
            (run.folder / name).unlink()


@pytest.mark.parametrize(
    ("word", "told"),
    [("", r"holds no GGUF file: name one, --gguf FILE, or make one, "), ("gone", "--gguf gone: there")],
)
def test_a_file_that_is_not_there_is_reported(run: SavedRun, word: str, told: str) -> None:
    with pytest.raises(FrameworkError, match=told), GgufSpeakers(GgufSpeakerConfig()).open(run, word):
        pass


def test_a_file_that_is_no_gguf_is_reported(run: SavedRun, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with (
        pytest.raises(FrameworkError, match=r"llama\.cpp cannot open"),
        GgufSpeakers(GgufSpeakerConfig()).open(run, str(tmp_path / "x.gguf")),
    ):
        pass


def test_the_command_talks_to_it_without_torch(run: SavedRun, tmp_path: Path) -> None:
    watch = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('imported:', *sorted({'torch', 'transformers'} & sys.modules.keys())))\n"
        "from framework.cli.main import main\nsys.stdin = open('prompts.txt')\nmain()"
    )
    (tmp_path / "prompts.txt").write_text("Say yes.\n", encoding="utf-8")
    words = ["chat", str(run.folder), "--gguf", str(gguf_file()), "--json", "--max-new-tokens", "4"]
    done = execute((sys.executable, "-c", watch), *words, cwd=tmp_path)
    answer, imported = done.out.splitlines()
    assert (done.code, imported) == (0, "imported:"), done.err
    assert json.loads(answer)["speaker"] == "gguf"


def test_base_is_not_here(run: SavedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("/base\n"))
    with pytest.raises(FrameworkError, match="only gguf answers here: leave --gguf out"):
        run_command("chat", [str(run.folder), "--gguf", str(gguf_file())])


def test_a_conversation_goes_on_with_what_is_known(speaker: GgufSpeaker) -> None:
    llama = speaker._llama  # noqa: SLF001 - what is computed
    answer = "".join(speaker.stream(PROMPT, max_new_tokens=NEW, seed=None))
    more = Prompt((*PROMPT.messages, Message("assistant", answer), Message("user", "And of Spain?")))
    read: list[int] = []
    decode = llama._decode  # noqa: SLF001 - as above

    def counted(ids: list[int], *, every: bool) -> None:
        read.append(len(ids))
        decode(ids, every=every)

    llama._decode = counted  # type: ignore[method-assign,assignment]  # noqa: SLF001 - as above
    try:
        list(itertools.islice(speaker.stream(more, max_new_tokens=3, seed=None), 3))
    finally:
        llama._decode = decode  # type: ignore[method-assign]  # noqa: SLF001 - as above
    assert read[0] < speaker.count(more) - speaker.count(PROMPT) + 2
