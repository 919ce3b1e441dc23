"""Take the pictures of the documentation from a real run: `python -m tests.support.pictures RUN_DIR`.

docs/images/report.png is the top of the run's `report.html` in Chromium. Look at it before you commit it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.browser import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
SIZE = "1000,1180"


def main() -> int:
    """Take the picture."""
    page, target = Path(sys.argv[1], "report.html").resolve(), ROOT / "docs/images/report.png"
    if PROGRAM is None or not page.is_file():
        sys.stderr.write(f"needs Chromium and {page}\n")
        return 2
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE}")
    subprocess.run([PROGRAM, *quiet, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
