"""Build the site of the documentation, with warnings as errors: `make site`, `make check`.

The pages of docs/ are copied to .site/pages, with the pages elsewhere in the repository that they link to, such as
CONTRIBUTING.md; a link to a file that is not a page becomes its name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / ".site/pages"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
OTHERS = "project"
"""Folder of the pages that are not in docs/."""


def page_of(file: Path) -> Path | None:
    """Return where a file of the repository is on the site; None if it is not a page."""
    if file.is_relative_to(ROOT / "docs"):
        return PAGES / file.relative_to(ROOT / "docs")
    return PAGES / OTHERS / file.relative_to(ROOT) if file.suffix == ".md" and file.exists() else None


def copied(source: Path, linked: set[Path]) -> str:
    """Return the text of a page with its links as they are on the site; gather the pages elsewhere that it links to."""
    own_page = page_of(source)
    assert own_page is not None

    def rewritten(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        file = (source.parent / target).resolve()
        page = page_of(file)
        if page is None:
            return match[0] if image else text
        if not file.is_relative_to(ROOT / "docs"):
            linked.add(file)
        up = Path(*[".."] * len(own_page.parent.relative_to(PAGES).parts))
        return f"{image}[{text}]({(up / page.relative_to(PAGES)).as_posix()}{anchor})"

    return LINK.sub(rewritten, source.read_text(encoding="utf-8"))


def main() -> int:
    """Copy the pages and build."""
    shutil.rmtree(PAGES.parent, ignore_errors=True)
    waiting, copied_files = {*(ROOT / "docs").rglob("*.md")}, set[Path]()
    while waiting:
        source = waiting.pop()
        copied_files.add(source)
        page = page_of(source)
        assert page is not None
        linked: set[Path] = set()
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(copied(source, linked), encoding="utf-8")
        waiting |= linked - copied_files
    for file in (ROOT / "docs").rglob("*"):
        if file.suffix in {".png", ".json", ".svg", ".ipynb", ".css"}:
            page = PAGES / file.relative_to(ROOT / "docs")
            page.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, page)
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
