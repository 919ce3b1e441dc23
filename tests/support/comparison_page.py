"""The page docs/reference/other-tools.md, made from comparison.yaml, which has what shows each cell.

python -m tests.support.comparison_page    writes it; `make reference` does too
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).with_name("comparison.yaml")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "other-tools.md"
HEAD = """# Other tools

What the closest tools have, read in their files on {read}:
{versions}.
"Part" means partly, experimental, or with a script of your own. No other tool was run for this table. Each part exists
somewhere else; no tool of the table combines a proof of each row, a test of base against tuned model, and exports
compared with what was trained. `tests/support/comparison.yaml` has the file or the search that shows each cell.
"""


def page() -> str:
    """Return the page."""
    data: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    tools = ["framework", *data["versions"]]
    versions = [f"{tool} {about['version']}" for tool, about in data["versions"].items()]
    rows = [
        f"| {subject} | {' | '.join(cells[tool][0] for tool in tools)} |" for subject, cells in data["rows"].items()
    ]
    head = HEAD.format(read=data["read"], versions=f"{', '.join(versions[:-1])} and {versions[-1]}")
    return "\n".join([head, f"| | {' | '.join(tools)} |", "|---" * (len(tools) + 1) + "|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
