"""The register of claims, docs/claims.yaml, and its table in docs/explanation/how-this-was-made.md.

python -m tests.support.claims_page              writes the table
python -m tests.support.claims_page --run 2/6    runs the second of six parts of the long commands
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

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "how-this-was-made.md"
BEGIN, END = "<!-- claims -->\n", "\n<!-- /claims -->"
REGISTER = yaml.safe_load((ROOT / "docs" / "claims.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Claim:
    """A figure on a page, and what makes it."""

    what: str
    text: str
    page: str
    command: str
    made: dt.date
    prints: str = ""
    minutes: int = 0
    by_hand: str = ""

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return self.what

    @property
    def link(self) -> str:
        """Return the page as seen from the page with the table."""
        return "../../README.md" if self.page == "README.md" else self.page.removeprefix("docs/explanation/")

    @property
    def problem(self) -> str:
        """Run the command; return what it printed last if that is not the claim."""
        command = [sys.executable, *self.command.split()[1:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return "" if pattern(self.prints).search(done.stdout) else f"{done.stdout}{done.stderr}"[-2000:]


CLAIMS = [Claim(**entry) for entry in (*REGISTER["readme"], *REGISTER["pages"])]


def pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression of a claim's text, in which a space is any white space."""
    return re.compile(text.replace(" ", r"\s+"), re.DOTALL)


def table() -> str:
    """Return the table of all claims."""
    rows = [
        f"| {claim.what} | [{Path(claim.page).stem}]({claim.link}) | `{claim.command}` | {claim.made} |"
        for claim in CLAIMS
    ]
    return "\n".join(["| claim | page | made by | on |", "|---|---|---|---|", *rows])


def parts() -> tuple[str, str, str]:
    """Return what is before, in and after the table of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    made, _, after = rest.partition(END)
    return before, made, after


def part_of(claims: Sequence[Claim], part: str) -> list[Claim]:
    """Return the claims with long commands of one part, `2/6`; all parts together have each of them once."""
    number, parts_ = map(int, part.split("/"))
    return [claim for claim in claims if claim.minutes][number % parts_ :: parts_]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or run a part of the long commands; return 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", metavar="K/N", default="")
    asked = parser.parse_args(arguments)
    if not asked.run:
        before, _, after = parts()
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
        return 0
    wrong = 0
    for claim in part_of(CLAIMS, asked.run):
        problem = claim.problem
        wrong += bool(problem)
        sys.stdout.write(f"{claim.page}: {claim}: {'does not hold' if problem else 'holds'}\n{problem}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
