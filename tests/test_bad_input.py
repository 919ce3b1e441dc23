"""What a user gets wrong about model and length, told in a line or two, with exit code 2 and nothing left behind.

What can be checked without torch is tested in tests/framework/cli/test_main.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.forked_program import forked, trainers
from tests.support.program import environment
from tests.support.tiny import chat_rows, tiny_llama


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, broken copies of it and a data file."""
    place = tmp_path_factory.mktemp("place")
    model = tiny_llama(place / "model")
    for name, missing in (("no_config", "config.json"), ("no_template", "chat_template.jinja")):
        (place / name).mkdir()
        for file in model.iterdir():
            if file.name != missing:
                (place / name / file.name).write_bytes(file.read_bytes())
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (place / "rows.jsonl").write_text(rows, encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("model", "words", "told"),
    [
        ("no_config", [], "the folder has no config.json, so it holds no model"),
        ("absent", [], "there is no such folder"),
        ("no_template", [], "model.chat_template=FILE.jinja"),
        ("model", ["trainer.max_seq_length=4"], "trainer.max_seq_length=4 leaves no token to learn"),
        ("model", ["trainer.max_seq_length=30", "data.overflow=fail"], "are longer than trainer.max_seq_length=30"),
        (
            "model",
            ["trainer.dtype=fp16", "trainer.device=cpu"],
            "trainer.dtype=fp16 does not train with trainer.device=cpu",
        ),
    ],
)
def test_a_mistake_is_reported_in_words_and_leaves_nothing(
    place: Path, tmp_path: Path, model: str, words: list[str], told: str
) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    given = ["model=local", f"model.path={place / model}", "data=local_file", f"data.path={place / 'rows.jsonl'}"]
    done = forked(trainers(), ["-m", "framework", *given, *words], cwd, environment(place))
    assert done.code == 2, done.err
    assert told in done.err
    assert len(done.err.strip().splitlines()) <= 2, done.err
    assert "Traceback" not in done.err
    assert list(cwd.iterdir()) == []
