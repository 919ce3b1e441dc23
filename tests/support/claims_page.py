"""The register of claims, docs/claims.yaml, and its table in docs/explanation/how-this-was-made.md.

`python -m tests.support.claims_page` writes the table.
"""

from __future__ import annotations

import datetime as dt
import re
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

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return self.what

    @property
    def link(self) -> str:
        """Return the page as seen from the page with the table."""
        return "../../README.md" if self.page == "README.md" else self.page.removeprefix("docs/explanation/")


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


if __name__ == "__main__":
    before, _, after = parts()
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
