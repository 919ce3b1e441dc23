"""Code and documentation use the terms of the field: no text has a word or phrase of words.yaml.

`python tests/docs/test_words.py [PATH ...]` lists the hits, also those in the files that the test leaves out.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# The two pages are generated from docstrings, which are checked; CHANGELOG.md is past; the list names what it forbids.
LEFT_OUT = (
    "docs/reference/api.md", "docs/reference/config.md", "docs/explanation/provoked-truths.md", "tests/docs/words.yaml",
    "tests/docs/test_words.py",
)  # fmt: skip
FOLDERS = ("docs", "changes", "conf", "contrib", "plugins", "framework", "tests", "benchmarks")
KINDS = {".md", ".py", ".yaml", ".jinja"}
MARK = re.compile(r"word-ok: (?=\S.{9})")
BREAK = "\n\x00\n"  # between texts that do not belong together; no pattern matches across it


@dataclass(frozen=True)
class Word:
    """An entry of the list."""

    pattern: str
    instead: str
    hit: str
    fine: str = ""

    def finds(self, text: str) -> bool:
        """Whether the text uses it."""
        return one_of(self.pattern).search(text.lower()) is not None


def one_of(*patterns: str) -> re.Pattern[str]:
    """Return a regular expression for lower-case text."""
    # One for all words, since re passes over a branch by its first letter.
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b".replace(" ", r"\s+"))


WORDS = [Word(**entry) for entry in yaml.safe_load((ROOT / "tests/docs/words.yaml").read_text(encoding="utf-8"))]
ANY = one_of(*(word.pattern for word in WORDS))
JOINT = re.compile(r"""["']?[ \t]*\n[ \t]*(?:\#[ ]?|[rfb]{0,2}["'])?""")  # what is between lines of one text


@dataclass(frozen=True)
class Hit:
    """Where a text uses a word, and what to write instead."""

    file: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        """Name the place, the phrase and what to write."""
        return f"{self.file}:{self.line}: {self.found!r}: write {self.instead!r}"


@dataclass
class Text:
    """Prose taken out of a file, with the line in the file of each of its parts."""

    text: str
    starts: list[tuple[int, int]]

    def line(self, offset: int) -> int:
        """Return the line of the file for a place in the text."""
        start, line = next(pair for pair in reversed(self.starts) if pair[0] <= offset)
        return line + self.text.count("\n", start, offset)

    def whole(self, offset: int) -> str:
        """Return all of the string, comment or paragraph at a place in the text."""
        return self.text[:offset].rpartition(BREAK)[2] + self.text[offset:].partition(BREAK)[0]


def prose_of(file: Path, source: str) -> Text:
    """Return what a person reads of a file: of Python its comments and strings, of Markdown all but code."""
    pieces = _python(source) if file.suffix == ".py" else _markdown(source) if file.suffix == ".md" else [(1, source)]
    text, starts = "", []
    for line, piece in pieces:
        starts.append((len(text), line))
        text += piece
    return Text(text, starts)


def _python(source: str) -> Iterator[tuple[int, str]]:
    """Return comments and strings; neighbouring ones are one text, as Python and a reader join them."""
    before = None
    quiet = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    middle = getattr(tokenize, "FSTRING_MIDDLE", None)  # from Python 3.12 on an f-string is several tokens
    inside = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in quiet and not (before == tokenize.STRING and token.type == tokenize.NEWLINE):
            continue
        name = tokenize.tok_name[token.type]
        inside += {"FSTRING_START": 1, "FSTRING_END": -1}.get(name, 0)
        if token.type in {tokenize.COMMENT, tokenize.STRING, middle}:
            kind = tokenize.COMMENT if token.type == tokenize.COMMENT else tokenize.STRING
            if kind != before:
                yield token.start[0], BREAK
            yield token.start[0], _content(token)
            before = kind
        elif not inside and name not in {"FSTRING_START", "FSTRING_END"}:
            before = None


def _content(token: tokenize.TokenInfo) -> str:
    """Return the text of a comment or string, the values that an f-string puts in left out."""
    if token.type == tokenize.COMMENT:
        return re.sub(r"`[^`]*`", "``", token.string.removeprefix("#")) + " "
    if token.type != tokenize.STRING:
        return token.string
    prefix, quote, body = re.match(r"""(\w*)('{3}|"{3}|'|")(.*)""", token.string, re.DOTALL).groups()  # type: ignore[union-attr]  # a string token has quotes
    body = re.sub(r"`[^`\n]*`", "``", body[: -len(quote)])
    return re.sub(r"\{[^{}\n]*\}", "{}", body) if "f" in prefix.lower() else body


def _markdown(source: str) -> Iterator[tuple[int, str]]:
    """Return the lines outside of code: output quotes messages, which are checked where they are written."""
    fenced = False
    for number, line in enumerate(source.splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        yield number, BREAK if fence or fenced or not line.strip() else re.sub(r"`[^`]*`", "``", line) + "\n"


def hits_in(file: Path, name: str) -> list[Hit]:
    source = file.read_text(encoding="utf-8")
    if not ANY.search(JOINT.sub(" ", source.lower())):  # most files: tokenizing them takes longer
        return []
    prose, lines = prose_of(file, source), source.splitlines()
    hits = []
    for match in ANY.finditer(prose.text.lower()):
        if prose.whole(match.start()).isidentifier():  # a key or a name, as in __all__
            continue
        first, last = prose.line(match.start()), prose.line(match.end() - 1)
        if not any(MARK.search(line) for line in lines[first - 1 : last]):
            found = " ".join(match.group().split())
            hits.append(Hit(name, first, found, next((word.instead for word in WORDS if word.finds(found)), "")))
    return hits


def all_hits(left_out: tuple[str, ...]) -> list[Hit]:
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md")]
    files += [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*")) if file.suffix in KINDS]
    names = {file.relative_to(ROOT).as_posix(): file for file in files}
    return [hit for name, file in names.items() if not name.startswith(left_out) for hit in hits_in(file, name)]


def test_an_entry_finds_its_example_and_leaves_its_other_text_alone() -> None:
    assert [word.hit for word in WORDS if not word.finds(word.hit)] == []
    assert [word.fine for word in WORDS if word.finds(word.fine)] == []
    assert [word.instead for word in WORDS if any(other.finds(word.instead) for other in WORDS)] == []


def test_code_and_documentation_use_no_word_of_the_list() -> None:
    assert [str(hit) for hit in all_hits(LEFT_OUT)] == []


if __name__ == "__main__":
    for shown in all_hits(LEFT_OUT):
        if shown.file.startswith(tuple(sys.argv[1:]) or ""):
            sys.stdout.write(f"{shown}\n")
