"""Print the requirements of a training and of the tests without the bounds of pyproject.toml, for `make canary`."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def unbounded(lines: list[str], extras: dict[str, list[str]]) -> Iterator[str]:
    """Yield names with extras and markers; instead of `framework-finetune[EXTRA]`, what that extra needs."""
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+(\[.*?\])?", requirement)
        assert name, line
        if "==" in requirement:  # pinned, since machine-built or the last that works: nothing newer is admitted
            yield line
        elif name[0].startswith("framework-finetune["):
            for extra in name[0].removeprefix("framework-finetune").strip("[]").split(","):
                yield from unbounded(extras[extra], extras)
        else:
            yield f"{name[0]};{marker}" if marker else name[0]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    own = [
        "framework-finetune[gguf]",
        *(line for line in optional["test"] if line.startswith(("pytest", "hypothesis"))),
    ]
    sys.stdout.write("\n".join(dict.fromkeys(unbounded([*project["dependencies"], *own], optional))) + "\n")
