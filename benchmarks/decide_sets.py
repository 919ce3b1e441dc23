"""`+experiment=decide` on three sets of sentences that people rated: film reviews, tweets and editorials.

    pip download vaderSentiment==3.3.2 --no-binary :all: --no-deps
    .venv/bin/python -m benchmarks.decide_sets vaderSentiment-3.3.2.tar.gz --out FOLDER

The source archive (MIT) has each sentence with the mean rating of twenty people, from -4 to 4. Reviews are positive or
negative; tweets and editorials are neutral between -0.5 and 0.5, and a scale of three. 640 rows are trained on, 800 are
held out: half of them fit the temperature and the threshold, and the other half is measured. Nothing is asserted.
"""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.api import EvalResult
from framework.api.program import read_run

TRAINED, HELD_OUT = 640, 800
LENGTHS = range(16, 240)
"""Characters of a sentence."""
NEUTRAL = 0.5
SETS = {
    "reviews": ("movieReviewSnippets", ("negative", "positive"), "Is this sentence of a film review"),
    "tweets": ("tweets", ("negative", "neutral", "positive"), "Is this message"),
    "editorials": ("nytEditorialSnippets", ("negative", "neutral", "positive"), "Is this sentence of an editorial"),
}
COLUMNS = "accuracy", "log_score", "brier", "ece", "ece_by_chance", "mass", "threshold", "answered", "wrong"


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    return file.read() if file else b""


def sentences(archive: Path, file: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return the different sentences of a file with their labels, shuffled."""
    with tarfile.open(archive) as outer:
        member = next(name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(read_member(outer, member))) as inner:
            name = next(name for name in inner.getnames() if name.endswith(f"{file}_GroundTruth.txt"))
            text = read_member(inner, name).decode(errors="replace")
    ratings = {row[2].strip(): float(row[1]) for line in text.splitlines() if len(row := line.split("\t")) == 3}
    bound = NEUTRAL if "neutral" in labels else 0.0
    rows = [
        (sentence, "positive" if rating > bound else "negative" if rating < -bound else "neutral")
        for sentence, rating in sorted(ratings.items())
        if len(sentence) in LENGTHS
    ]
    rows = [row for row in rows if row[1] in labels]
    random.Random(0).shuffle(rows)  # noqa: S311 - a split
    return rows


def write(file: Path, rows: Sequence[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])


def command(name: str, folder: Path) -> list[str]:
    """Return the arguments of a run."""
    _, labels, asked = SETS[name]
    return [
        "+experiment=decide", "data=local_file", f"data.path={folder / name}.csv", "data.validation_split=0",
        f"data.prompts_path={folder / name}-held-out.csv", "objective=train_loss",
        f"format.labels=[{','.join(labels)}]", f"format.scale={str('neutral' in labels).lower()}",
        f"format.question='{asked} {', '.join(labels[:-1])} or {labels[-1]}? Answer with one word.\n{{text}}'",
        "trainer.num_train_epochs=1", "trainer.per_device_train_batch_size=16", "trainer.learning_rate=4e-4",
        "evaluator=[decide]", "metric=[]", "exporter=[]", f"run_dir={folder / name}",
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    parser = command_line(__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the rows and the runs")
    parser.add_argument("--sets", nargs="+", default=[*SETS], choices=SETS)
    parser.add_argument("--more", nargs="*", default=[], help="overrides, such as stages=[evaluate,report]")
    given = parser.parse_args(arguments)
    folder = given.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    OUT.print(table_head("set", *COLUMNS))
    for name in given.sets:
        rows = sentences(given.archive, *SETS[name][:2])
        write(folder / f"{name}.csv", rows[:TRAINED])
        write(folder / f"{name}-held-out.csv", rows[TRAINED : TRAINED + HELD_OUT])
        words = [sys.executable, "-m", "framework", *command(name, folder), *given.more]
        subprocess.run(words, check=True, stdout=sys.stderr)
        measured = read_run(folder / name).record(EvalResult, "evaluate.json")
        values = measured.metrics if measured else {}
        OUT.print(table_row(name, *(f"{values.get(f'decision_{column}', float('nan')):.3f}" for column in COLUMNS)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
