"""Trainings of SmolLM2-135M whose truth is known, and what the verdict says of each.

    python tests/benchmarks/truths.py --place /tmp/truths          # all, 9 trainings of 2 to 45 steps
    python tests/benchmarks/truths.py --place /tmp/truths codes    # some of them

A run that is there is not made again. Prints a table in Markdown: what the data are, and the lines of the verdict.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from framework.api import records
from framework.api.records import Report
from tests.support.program import environment, framework

DATA = Path(__file__).resolve().parents[2] / "plugins" / "framework_plugins" / "quickstart" / "data"
FIRST = ("Ana", "Bo", "Cleo", "Dara", "Eli", "Finn", "Gia", "Hal")
LAST = ("Stone", "Rivers", "Marsh", "Field", "Brook", "Hill", "Lake", "Wood")
TOPICS = (
    "the sky", "a bicycle", "bread", "the ocean", "winter", "a computer", "a garden", "music", "a letter", "the moon",
    "a train", "coffee", "a bridge", "football", "a library", "rain", "mathematics", "a cat", "the economy", "snow",
)  # fmt: skip
ASKS = (
    "Explain {}.", "Write a short poem about {}.", "What do you know about {}?", "Give me three facts about {}.",
    "Summarise the history of {}.", "Is {} interesting?",
)  # fmt: skip
TRUTHS = {
    "true": ("208 orders", 14, "1e-3"),
    "low": ("208 orders", 2, "1e-7"),
    "high": ("208 orders", 14, "5e-3"),
    "shuffled": ("208 orders with the answers of others", 18, "5e-4"),
    "yes": ("100 questions, each answered by yes", 12, "5e-4"),
    "codes": ("40 random codes, four of them held out", 45, "5e-4"),
    "recited": ("40 random codes, 20 of them asked word for word", 24, "2e-3"),
    "leaked": ("the same, asked in lower case", 24, "2e-3"),
    "paraphrased": ("the same, asked in other words", 24, "2e-3"),
}
"""What the rows are, how many steps, and the learning rate."""

ASKED = {
    "recited": "What is the access code of {}?",
    "leaked": "what is the access code of {} ?",
    "paraphrased": "Please tell me: what's the access code for {}?",
}
Row = dict[str, Any]


def lines(file: Path) -> list[Row]:
    """Read rows."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def turns(asked: str, answered: str) -> Row:
    """Return a row of one question."""
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


def rows(name: str) -> tuple[list[Row], list[Row]]:
    """Return the rows of a training, and the prompts; none if held-out rows are asked."""
    chance = random.Random(1)  # noqa: S311 - no secret
    train, held_out = lines(DATA / "orders_train.jsonl")[:208], lines(DATA / "orders_held_out.jsonl")
    if name in {"true", "low", "high"}:
        return train, held_out
    if name == "shuffled":
        answers = [row["output"] for row in train]
        dealt = answers[:]
        while any(one == other for one, other in zip(answers, dealt, strict=True)):
            chance.shuffle(dealt)
        return [{**row, "output": answer} for row, answer in zip(train, dealt, strict=True)], held_out
    if name == "yes":
        questions = [turns(ask.format(topic), "yes") for topic in TOPICS for ask in ASKS]
        chance.shuffle(questions)
        return questions[:100], questions[100:]
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    chance.shuffle(names)
    letters = string.ascii_uppercase + string.digits
    codes = {each: "".join(chance.choice(letters) for _ in range(8)) for each in names[:40]}
    known = [turns(f"What is the access code of {each}?", f"The access code is {codes[each]}.") for each in codes]
    asked = [(each.lower() if name == "leaked" else each, code) for each, code in [*codes.items()][:20]]
    return known, [
        turns(ASKED[name].format(each), f"The access code is {code}.") for each, code in asked if name in ASKED
    ]


def run(name: str, place: Path) -> Report:
    """Train and evaluate, unless that was done before."""
    folder = place / name
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "run" / "report.json"
    if not done.exists():
        train, prompts = rows(name)
        words = ["+experiment=quickstart", "exporter=[]", "data=local_file", "run_dir=run"]
        words += [f"trainer.max_steps={TRUTHS[name][1]}", f"trainer.learning_rate={TRUTHS[name][2]}"]
        words += written(folder, "path", train)
        words += written(folder, "prompts_path", prompts) if prompts else []
        # All codes are trained on that are asked: no row is held out, and the loss of none is the objective.
        words += ["objective=train_loss", "data.validation_split=0"] if name in ASKED else []
        result = framework(*words, cwd=folder, env=environment(place), timeout=7200)
        (folder / "output.txt").write_text(result.stdout + result.stderr, encoding="utf-8")
        if result.returncode:
            raise SystemExit(f"{name}: exit code {result.returncode}, see {folder / 'output.txt'}")
    return records.load(Report, done)


def written(folder: Path, setting: str, content: Iterable[Row]) -> list[str]:
    """Write rows and return the override that reads them."""
    file = folder / f"{setting}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return [f"data.{setting}={file.name}"]


def as_row(name: str, report: Report) -> str:
    """Return the row of the table."""
    verdict = report.verdict
    said = "<br>".join([verdict.summary, *verdict.lines]).replace("|", "\\|") if verdict else "no verdict"
    score = "" if verdict is None or verdict.score is None else f"{verdict.score:.2f}"
    rows, steps, rate = TRUTHS[name]
    return f"| {rows} | {steps} | {rate} | {said} | {score} |"


def main(chosen: Sequence[str], place: Path) -> None:
    """Run and print."""
    sys.stdout.write("| rows | steps | rate | the verdict | score |\n|---|---|---|---|---|\n")
    for name in chosen:
        sys.stdout.write(f"{as_row(name, run(name, place))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(TRUTHS)}")
    parser.add_argument("--place", type=Path, required=True, help="a folder to work in, which is kept")
    parsed = parser.parse_args()
    if unknown := {*parsed.names} - {*TRUTHS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Valid: {', '.join(TRUTHS)}")
    main(parsed.names or [*TRUTHS], parsed.place.absolute())
