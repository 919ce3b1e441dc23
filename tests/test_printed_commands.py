"""Every command that a run prints, writes into its report or puts beside an export works when it is pasted."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from framework.api.text import override_key
from tests.support.project import Project, project

ROWS = "".join(json.dumps({"my question": f"{n} + 2?", "answer's text": f"{n + 2}"}) + "\n" for n in range(60))
COLUMNS = 'format.columns={instruction: my question, output: "answer\'s text"}'
WORDS = [
    "data=local_file",
    "data.path=my rows.jsonl",
    COLUMNS,
    "run_dir=my first run",
    'name="it\'s $HOME"',
    "audit=[]",
]
COMMAND = re.compile(r"(?:\S*python\S*) -m framework( [^\n`<]*)?")
WRITTEN = {".html", ".md"}


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return project(tmp_path / "my place", {"my rows.jsonl": ROWS})


def commands(place: Project, text: str) -> set[str]:
    """Return the commands in a text and in all pages and exports of the folder."""
    files = [file.read_text(encoding="utf-8") for file in place.folder.rglob("*") if file.suffix in WRITTEN]
    sources = [text, *map(html.unescape, files)]
    return {(match[1] or "").strip() for source in sources for match in COMMAND.finditer(source)}


def check(place: Project, command: str) -> None:
    """Read a command as a shell does, and check what it names: a run is planned."""
    words = shlex.split(command)
    if words and "=" not in words[0] and words[0] != "-m":
        if words[0] != "plugins":
            folders = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert all((place.folder / folder).exists() for folder in folders), command
            words = [words[0], "--help"]
    else:
        first = [re.sub(r"=([^,{\[]+),.*", r"=\1", word) for word in words[1:]] if words[:1] == ["-m"] else words
        words = [*(word for word in first if override_key(word) != "stages"), "stages=[plan]"]
    done = place._run(words, echo=True)  # noqa: SLF001 - the command names the echo backend itself
    assert done.code == 0, f"{command}\n{done.err}"


@pytest.mark.parametrize("more", [["stages=[data]"], ["stages=[data,train]"], []])
def test_what_a_run_prints_and_writes_can_be_pasted(place: Project, more: list[str]) -> None:
    done = place.echo(*WORDS, *more)
    assert done.code == 0, done.err
    listed = place.echo("runs", ".") if not more else done
    printed = commands(place, f"{done.out}\n{done.err}\n{listed.out}")
    assert printed
    for command in sorted(printed):
        check(place, command)


@pytest.mark.parametrize(
    "words",
    [
        ["data=local_file", "data.path=my rows.jsonl"],
        ["data=local_file", "data.path=my rows.jsonl", "trainer.lr=1e-4"],
        ["resume", "my run"],
        ["chat"],
    ],
)
def test_what_a_refusal_prints_can_be_pasted(place: Project, words: list[str]) -> None:
    done = place.run(*words) if words[0] in ("resume", "chat") else place.echo(*words)
    assert done.code == 2
    for command in commands(place, done.err):
        check(place, command)
