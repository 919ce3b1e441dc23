"""No page installs this program from a package index, where anybody could register its name."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_docs import PAGES, ROOT

INSTALL = re.compile(
    r"\b(?:pip3?|uv|pipx|runpip)\b[^\n`]*\binstall\b[^\n`]*?[ '\"]framework(?:-finetune)?(?=[\['\" \n`=]|$)"
)


@pytest.mark.parametrize(
    "line",
    [
        "pip install framework-finetune",
        "uv pip install 'framework-finetune[quickstart]' && x",
        "pipx install 'framework[wandb]'",
        "pip install framework==1",
    ],
)
def test_a_line_that_installs_it_by_name_is_found(line: str) -> None:
    assert INSTALL.search(line)


def test_no_page_installs_it_by_name() -> None:
    pages = [page for page in (*PAGES, *(ROOT / "contrib").rglob("*.md")) if page.name != "CHANGELOG.md"]
    found = [(str(page.relative_to(ROOT)), INSTALL.findall(page.read_text(encoding="utf-8"))) for page in pages]
    assert [(page, lines) for page, lines in found if lines] == []
