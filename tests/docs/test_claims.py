"""Each claim of docs/claims.yaml is on its page, and each number of README.md is a claim or is listed there."""

from __future__ import annotations

import contextlib
import re
import runpy
import sys

import pytest

from tests.support.claims_page import CLAIMS, REGISTER, ROOT, Claim, main, part_of, parts, pattern, table

QUICK = [claim for claim in CLAIMS if claim.prints and not claim.minutes]
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
    module = claim.command.split()[2]
    monkeypatch.setattr(sys, "argv", [module])
    monkeypatch.delitem(sys.modules, module, raising=False)  # of another test, about which runpy would warn
    with contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    assert pattern(claim.prints).search(capsys.readouterr().out)


def test_each_claim_is_checked_by_a_command_or_says_why_not() -> None:
    assert [claim.what for claim in CLAIMS if bool(claim.prints) == bool(claim.by_hand)] == []
    assert [claim.what for claim in CLAIMS if claim.minutes and not claim.prints] == []


def test_the_parts_have_each_long_command_once() -> None:
    long = [claim for claim in CLAIMS if claim.minutes]
    assert long
    assert sorted(map(str, long)) == sorted(
        str(claim) for part in range(1, 7) for claim in part_of(CLAIMS, f"{part}/6")
    )


@pytest.mark.parametrize(("prints", "code", "word"), [("of Python", 0, "holds"), ("of Perl", 1, "does not hold")])
def test_a_claim_that_no_longer_holds_fails(
    prints: str, code: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = Claim("the Zen", "", "README.md", "python -m this", CLAIMS[0].made, f"The Zen {prints}", minutes=1)
    monkeypatch.setattr("tests.support.claims_page.CLAIMS", [claim])
    assert main(["--run", "1/1"]) == code
    assert f"README.md: the Zen: {word}" in capsys.readouterr().out


def test_each_number_of_the_readme_is_in_the_register() -> None:
    head, _, rest = README.partition("\n| | framework |")  # of other tools, which a page of its own may have
    text = prose(head + rest.partition("\n\n")[2])
    listed = [*(claim.text for claim in CLAIMS if claim.page == "README.md"), *REGISTER["readme_numbers"]]
    assert [known for known in listed if not pattern(known).search(text)] == []
    for known in listed:
        text = pattern(known).sub(" ", text)
    assert re.findall(r"\S*\d\S*", text) == []


def test_the_page_has_the_table_of_the_register() -> None:
    assert parts()[1] == table()
