"""Each claim of docs/claims.yaml is on its page, and each number of README.md is a claim or is listed there."""

from __future__ import annotations

import contextlib
import re
import runpy
import sys

import pytest

from tests.support.claims_page import CLAIMS, REGISTER, ROOT, Claim, parts, pattern, table

QUICK = [claim for claim in CLAIMS if claim.prints]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Return a page without its examples, code and the targets of links, in one line."""
    text = re.sub(r"^```.*?^```$|`[^`]*`|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    return " ".join(re.sub(r"\]\([^)\s]+\)", "]", text).replace("[", "").replace("]", "").split())


def plain(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return prose(text) if page == "README.md" else text


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_a_claim_is_on_its_page_and_its_command_exists(claim: Claim) -> None:
    assert pattern(claim.text).search(plain(claim.page))
    words = claim.command.split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert words[:2] == ["python", "-m"]
        module = ROOT / words[2].replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


@pytest.mark.parametrize("claim", QUICK, ids=str)
def test_a_quick_command_still_makes_its_claim(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [claim.command.split()[2]])
    with contextlib.suppress(SystemExit):
        runpy.run_module(claim.command.split()[2], run_name="__main__")
    assert pattern(claim.prints).search(capsys.readouterr().out)


def test_each_number_of_the_readme_is_in_the_register() -> None:
    head, _, rest = README.partition("\n| | framework |")  # of other tools, which a page of its own may have
    text = prose(head + rest.partition("\n\n")[2])
    for known in [*(claim.text for claim in CLAIMS if claim.page == "README.md"), *REGISTER["readme_numbers"]]:
        text = pattern(known).sub(" ", text)
    assert re.findall(r"\S*\d\S*", text) == []


def test_the_page_has_the_table_of_the_register() -> None:
    assert parts()[1] == table()
