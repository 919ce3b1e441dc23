"""A page as a real browser lays it out, where one is installed: Chromium without a window."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here")
LOOK = """<script>
const boxes = [...document.querySelectorAll("svg text")].map(text => {
  const {left, right, top, bottom} = text.getBoundingClientRect();
  return {text: text.firstChild.textContent, left, right, top, bottom};
});
const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const upon = boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => meet(a, b)).map(b => [a.text, b.text]));
const told = {
  wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  upon, letters: Math.min(...boxes.map(box => box.bottom - box.top)), ink: getComputedStyle(document.body).color,
};
document.body.innerHTML = `<pre id="told">${encodeURIComponent(JSON.stringify(told))}</pre>`;
</script>"""


@dataclass(frozen=True)
class Layout:
    """How a page is laid out.

    Attributes:
        wider: pixels that the page has beyond the window, so that it has to be moved sideways.
        upon: texts of drawings that lie upon each other.
        letters: the height of the smallest text in a drawing, in pixels.
        ink: the colour of the text.
    """

    wider: int
    upon: list[tuple[str, str]]
    letters: float
    ink: str


def layout(page: str, folder: Path, width: int, *, dark: bool = False) -> Layout:
    """Lay a page out in a window `width` pixels wide."""
    file = folder / "page.html"
    # The policy of a page allows no script; its style stays under it.
    own = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    file.write_text(own.replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    words = [
        str(PROGRAM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={width},1000", "--dump-dom",
        file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True, timeout=60)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout)
    assert told is not None, done.stdout
    from urllib.parse import unquote

    found = json.loads(unquote(told[1]))
    return Layout(found["wider"], [(one, two) for one, two in found["upon"]], found["letters"], found["ink"])
