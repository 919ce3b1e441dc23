r"""The register of claims, docs/claims.yaml, and its table in docs/explanation/how-this-was-made.md.

python -m tests.support.claims_page                 writes the table
python -m tests.support.claims_page --numbers PAGE  prints the numbers of a page that the register has to name, in order
python -m tests.support.claims_page --run 2/6       runs the second of six parts of the long commands
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "explanation" / "how-this-was-made.md"
BEGIN, END = "<!-- claims -->\n", "\n<!-- /claims -->"
REGISTER: dict[str, Any] = yaml.safe_load((DOCS / "claims.yaml").read_text(encoding="utf-8"))
# What has digits and does not claim anything. A test has an example of each.
RULES = (
    r"^\s*\d+\. |^#+ (?:\d+\.|\d{4}) |\b[Ss]teps? \d+\b|\*\*\d(?: and \d)?\. ",  # steps and headings
    r"\b(?:Llama|Gemma|Granite|Mamba|Qwen|Phi|Olmo|Ministral|Mistral|Mistral Small|Nemotron|GLM-|Debian|WSL|RTX"
    r"|Zen|ISO|Apache-|GPT-|UTF-|DeepSeek)"
    r"(?: ?\d[\d.]*\d\b| ?\d\b)(?:(?:,| and| to) \d[\d.]*\b)*(?! ?%)",
    r"(?<![\w.])\d[\d.]*[BMK](?:-A\d+B)?\b",  # sizes of models: 8B, 30B-A3B
    r"(?<![\w.,+-])(?!x\d)[A-Za-z_][\w.-]*\d[\w.-]*\w|(?<![\w.])[A-Za-wyz]\d\b|x86-64",  # bf16, Q4_K_M, T4
    r"\b\d+(?:(?:,| and| or| to) \d+)*[- ]bits?\b",  # formats
    r"[Ee]xit codes? (?:is |of |is then )?\d+(?:(?:,| or| and|, and) \d+)*|\bends with \d\b|^- [\d, ]+: ",
    r"\b[Dd]ecision\s+\d{4}|\barXiv \d+\.\d+|\b[A-Z]\w+ \d{4}\b(?=\]|\))",  # decisions and literature
    r"\b(?:r|seed)[= ]\d+\b",
    r"(?<![\w.,+-])[01](?![\w.%/]|,\d| of | to \d+%| nat| GPU)",  # a bare 0 or 1: a value, not a measurement
)
NAMES = re.compile("|".join(RULES), re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)*(?:e[+-]?\d+)?%?")


@dataclass(frozen=True)
class Claim:
    """Numbers of a page that follow each other, and what makes them, checks them, or says them elsewhere.

    Attributes:
        page: from the root of the repository.
        n: the numbers.
        by: the command that makes them, one of the register's.
        made: when.
        by_hand: how they were made, if no command does.
        is_: the setting or the constant that they are.
        test: the file with a test that fails if they change.
        source: who published them, or the page that has them registered.
        plain: why they claim nothing.
    """

    page: str
    n: str
    by: str = ""
    made: dt.date | None = None
    by_hand: str = ""
    is_: str = ""
    test: str = ""
    source: str = ""
    plain: str = ""

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return f"{self.page}: {self.n[:40]}"

    @property
    def numbers(self) -> list[str]:
        """Return the numbers, each as the page has it, without commas."""
        return self.n.split()

    @property
    def kinds(self) -> list[str]:
        """Return which of the six it says."""
        return [kind for kind in ("by", "by_hand", "is_", "test", "source", "plain") if getattr(self, kind)]


@dataclass(frozen=True)
class Command:
    """What makes figures of pages."""

    line: str
    prints: str = ""
    minutes: int = 0
    by_hand: str = ""
    page: str = ""

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return self.line

    @property
    def problem(self) -> str:
        """Run the command; return what it printed last if that is not what the pages say."""
        words = [sys.executable, *self.line.split()[1:]]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        return "" if pattern(self.prints).search(done.stdout) else f"{done.stdout}{done.stderr}"[-2000:]


def read(register: dict[str, Any]) -> tuple[list[Command], list[Claim]]:
    """Return the commands and the claims of a register."""
    commands = [Command(line, **keys) for line, keys in register["commands"].items()]
    claims = [
        Claim(page, **{{"is": "is_"}.get(key, key): value for key, value in entry.items()})
        for page, entries in register["pages"].items()
        for entry in entries
    ]
    return commands, claims


COMMANDS, CLAIMS = read(REGISTER)


def pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression, in which a space is any white space."""
    return re.compile(text.replace(" ", r"\s+"), re.DOTALL)


def prose(text: str) -> str:
    """Return a page without its examples, code, generated parts and the targets of links."""
    marks = "|".join(re.escape(start) for start, _ in MARKS)
    ends = "|".join(re.escape(end) for _, end in MARKS)
    text = re.sub(rf"^```.*?^```$|(?:{marks}).*?(?:{ends})|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "` `", text)
    return re.sub(r"\]\([^)\s]+\)", "]", text)


MARKS = [tuple(marks.split(" … ")) for marks in REGISTER["generated"] if " … " in marks]


def numbers(text: str) -> list[str]:
    """Return the numbers in the prose of a page that are not names, in their order, without commas."""
    found = NUMBER.findall(NAMES.sub(" ", prose(text)))
    return [number.replace(",", "") for number in found]


def pages() -> list[Path]:
    """Return the pages that people write: README.md and those below docs/ that no command writes as a whole."""
    whole = {ROOT / page for page in REGISTER["generated"] if page.endswith(".md")}
    return [ROOT / "README.md", *sorted({*DOCS.rglob("*.md")} - whole)]


def name(page: Path) -> str:
    """Return how the register names a page."""
    return page.relative_to(ROOT).as_posix()


def table() -> str:
    """Return the table of the programs: the pages with how many numbers of each, and when the oldest was made."""
    rows = []
    for program in dict.fromkeys(" ".join(command.line.split()[:3]) for command in COMMANDS):
        own = [claim for claim in CLAIMS if f"{claim.by} ".startswith(f"{program} ")]
        blocks = [command.page for command in COMMANDS if command.line == program and command.page]
        counts = dict.fromkeys([*blocks, *(claim.page for claim in own)], 0)
        for claim in own:
            counts[claim.page] += len(claim.numbers)
        links = ", ".join(f"[{Path(page).stem}]({link(page)}) {count or 'table'}" for page, count in counts.items())
        rows.append(f"| `{program}` | {links} | {min((claim.made for claim in own if claim.made), default='')} |")
    return "\n".join(["| made by | numbers | on |", "|---|---|---|", *rows])


def link(page: str) -> str:
    """Return a page as seen from the page with the table."""
    parts_ = Path(page).relative_to("docs").parts if page.startswith("docs/") else ("..", page)
    return "/".join(parts_[1:] if parts_[0] == "explanation" else ("..", *parts_))


def parts() -> tuple[str, str, str]:
    """Return what is before, in and after the table of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    made, _, after = rest.partition(END)
    return before, made, after


def part_of(commands: Sequence[Command], part: str) -> list[Command]:
    """Return the long commands of one part, `2/6`; all parts together have each of them once."""
    number, parts_ = map(int, part.split("/"))
    return [command for command in commands if command.minutes][number % parts_ :: parts_]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or run a part of the long commands; return 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", metavar="K/N", default="")
    parser.add_argument("--numbers", metavar="PAGE", type=Path)
    asked = parser.parse_args(arguments)
    if asked.numbers:
        for line in NAMES.sub(" ", prose(asked.numbers.read_text(encoding="utf-8"))).splitlines():
            if found := NUMBER.findall(line):
                sys.stdout.write(f"{' '.join(found).replace(',', '')}    # {line.strip()[:100]}\n")
        return 0
    if not asked.run:
        before, _, after = parts()
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
        return 0
    wrong = 0
    for command in part_of(COMMANDS, asked.run):
        problem = command.problem
        wrong += bool(problem)
        sys.stdout.write(f"{command}: {'does not hold' if problem else 'holds'}\n{problem}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
