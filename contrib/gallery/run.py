"""Train the six tasks of the gallery one after the other, and print their results: `make gallery`.

    python contrib/gallery/run.py FOLDER [TASK …]

FOLDER takes data and runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = ("extraction", "tone", "classification", "sql", "tools", "summaries")


def run(folder: Path, task: str) -> str:
    """Train a task and return its row of the table."""
    begun = time.monotonic()
    words = [f"+experiment={task}", f"run_dir={folder / task}"]
    subprocess.run([sys.executable, "-m", "framework", *words], cwd=folder, check=True)
    minutes = (time.monotonic() - begun) / 60
    report = json.loads((folder / task / "report.json").read_text(encoding="utf-8"))
    name, change = next((name, change) for name, change in report["metrics"].items() if change["primary"])
    sample = json.loads((folder / task / "evaluate.json").read_text(encoding="utf-8"))["samples"][0]
    before, after = (f"{100 * change[when]:.0f}%" for when in ("before", "after"))
    low, high = change["low"], change["high"]
    outcome = f"{change['outcome']} ({100 * low:+.0f} to {100 * high:+.0f} points)"
    steps = report["train"]["steps"]
    answer = sample["answer"].strip().replace("\n", " ").replace("|", "\\|")
    return f"| {task} | {name} {before} → {after} | {outcome} | {steps} | {minutes:.0f} | `{answer}` |\n"


def main() -> None:
    """Make the data, train, and print the table."""
    folder, chosen = Path(sys.argv[1]).absolute(), sys.argv[2:] or TASKS
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    if not (folder / "conf/experiment").exists():
        (folder / "conf/experiment").symlink_to(HERE / "conf/experiment")
    subprocess.run([sys.executable, HERE / "make_data.py", folder / "data"], check=True)
    rows = [run(folder, task) for task in chosen]
    table = (
        "| task | before → after | verdict, 95% confidence | steps | minutes | an answer |\n|---|---|---|---|---|---|\n"
    )
    sys.stdout.write(table + "".join(rows))


if __name__ == "__main__":
    main()
