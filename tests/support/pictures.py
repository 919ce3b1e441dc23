"""Take the pictures of the documentation from real runs: `python -m tests.support.pictures RUN_DIR|SWEEP_DIR`.

docs/images/report.png is the top of a run's `report.html` in Chromium, docs/images/sweep.png that of a sweep's
`sweep.html`. Look at each before you commit it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.browser import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"report": "1000,1180", "sweep": "1000,670"}


def main() -> int:
    """Take the picture of the page that the folder has."""
    folder = Path(sys.argv[1]).resolve()
    name = next((name for name in SIZES if (folder / f"{name}.html").is_file()), None)
    if PROGRAM is None or name is None:
        sys.stderr.write(f"needs Chromium, and a page in {folder}\n")
        return 2
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZES[name]}")
    target, page = ROOT / f"docs/images/{name}.png", (folder / f"{name}.html").as_uri()
    subprocess.run([PROGRAM, *quiet, f"--screenshot={target}", page], check=True, capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
