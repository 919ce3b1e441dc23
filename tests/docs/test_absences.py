"""No page says that something is missing which the program has, and no install line names what is not there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.api.component import GROUPS
from framework.hooks.session import current

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts)]
OPEN = r"not available|not offered|not supported|(?:do|does) not exist|is missing|are missing"
BEHIND = r"[Tt]here (?:is|are) no |\blacks? |\bno such |\bhas no |\bneither "
SAID = r"(?:not on an?|on no|on any) (?:package )?index"
THINGS = {"estimate", "estimates", "container", "containers"}
ALLOWED = {
    ("docs/tutorial/coming-from.md", "plugins"): "a setting of Axolotl",
    ("docs/how-to/grpo.md", "launch=fsdp2"): "a message about rollouts",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def existing() -> set[str]:
    """Return the names of options and commands, and `group=option`."""
    options = {(group, name) for group in GROUPS for name in current().plugins.components(group)}
    # Options of other groups are plain words, which count with their group only.
    terms = {name for group, name in options if group in {"method", "adapter", "launch", "rollout", "quantization"}}
    return {*(f"{group}={name}" for group, name in options), *(terms - {"none", "full"}), *current().plugins.commands()}


def denied(text: str) -> Iterator[str]:
    """Give what a page says is missing: code and terms in capitals, in the form of an option."""
    prose = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n(?:\n|(?=[|#-]))", prose):
        for sentence in re.split(r"(?<=[.;!?])\s+", " ".join(paragraph.split())):
            parts = [sentence[: found.start()] for found in re.finditer(OPEN, sentence)][:1]
            parts += [re.split(r"[.;:|(]| but ", sentence[found.end() :])[0] for found in re.finditer(BEHIND, sentence)]
            for part in parts:
                names = [*re.findall(r"`([^`]+)`", part), *re.findall(r"\b[A-Z]{3,}\b", part)]
                yield from (re.sub(r"(?i)(?<=.)(trainer|config)$", "", name).lower() for name in names)
                yield from THINGS & {*re.findall(r"^\w+", part)}


def wrong_installs(text: str) -> Iterator[str]:
    """Give the lines with an extra that is not there, and those that need an index, on a page that does not say so."""
    for line in re.findall(r"^.*\bpip install .*$", text, re.MULTILINE):
        listed = ",".join(re.findall(r"(?:framework-finetune|\.)\[([\w,-]+)\]", line))
        local = re.search(r"\.whl|git\+|--find-links|--index-url", line) or re.search(SAID, " ".join(text.split()))
        by_index = re.search(r"(?<![\w/.-])framework-finetune(?![\w/-])", line) and not local
        if by_index or {*listed.split(",")} - {*PROJECT["optional-dependencies"], ""}:
            yield line.strip()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| `DPOTrainer`, `GRPOTrainer` | not available |", {"dpo", "grpo"}),
        ("This one lacks GRPO and\ncontainer images.", {"grpo"}),
        ("There is no `quantization=nf4`; but see below.", {"quantization=nf4"}),
        ("Before that there is no estimate of time.", {"estimate"}),
        ("`compare` is missing.", {"compare"}),
        ("There is no `adapter=lokr`.", set()),
        ("```text\nThere is no `dpo`.\n```", set()),
    ],
)
def test_a_planted_denial_is_found(text: str, found: set[str]) -> None:
    assert {word for word in denied(text) if word in existing() | THINGS} == found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pip install framework-finetune", 1),
        ("It is on no package index.\n\npip install framework-finetune", 0),
        ("pip install -e '.[evals,gguff]'", 1),
        ("pip install -e '.[evals,gguf]'", 0),
    ],
)
def test_a_planted_install_line_is_found(text: str, count: int) -> None:
    assert len([*wrong_installs(text)]) == count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_denies_nothing_that_exists_and_installs_only_what_is_there(page: Path) -> None:
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    assert [word for word in denied(text) if word in existing() | THINGS and (name, word) not in ALLOWED] == []
    assert [*wrong_installs(text)] == []
