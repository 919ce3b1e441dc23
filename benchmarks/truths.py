"""Trainings of SmolLM2-135M whose truth is known, and what the verdict says of each.

    python -m benchmarks.truths --place /tmp/truths          # all, 16 trainings of 2 to 70 steps
    python -m benchmarks.truths --place /tmp/truths codes    # some of them

A run that is there is not made again. Prints a table in Markdown: what the data are, and the lines of the verdict.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.api import records
from framework.api.records import Report
from tests.support.program import environment, framework

DATA = Path(__file__).resolve().parents[1] / "plugins" / "framework_plugins" / "quickstart" / "data"
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
    "dates": ("240 dates, to be written as 2026-11-29", 20, "1e-3"),
    "destroyed": ("the same, at a rate that destroys the model", 6, "3e-2"),
    "constant": ("240 reviews, each labelled positive; of those asked, 80% are", 12, "1e-3"),
    "capitals": ("99 capitals of countries, in upper case", 14, "1e-3"),
    "persons": ("20 invented persons, asked with the name reordered", 30, "2e-3"),
    "overfitted": ("the same rows, and 20 other persons asked", 70, "2e-3"),
    "labels": ("240 labelled reviews, 60 of them asked in other words", 12, "1e-3"),
}
"""What the rows are, how many steps, and the learning rate."""

ASKED = {
    "recited": "What is the access code of {}?",
    "leaked": "what is the access code of {} ?",
    "paraphrased": "Please tell me: what's the access code for {}?",
}
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
FORMS = ("{day} {month} {year}", "{month} {day}, {year}", "{month:.3} {day} {year}")
SAID = ("The meeting is on {}.", "She was born on {}.", "Due by {}, please.", "It happened on {}, they say.")
THINGS = ("kettle", "lamp", "chair", "phone", "book", "jacket", "tent", "bicycle", "radio", "mixer", "camera", "clock")
JUDGED = {
    "positive": ("works perfectly", "is a joy to use", "exceeded my hopes", "was worth every penny"),
    "negative": ("broke after a day", "is a waste of money", "arrived damaged", "stopped working"),
}
CAPITALS = (
    "France Paris Germany Berlin Italy Rome Spain Madrid Portugal Lisbon Austria Vienna Greece Athens Poland Warsaw "
    "Hungary Budapest Norway Oslo Sweden Stockholm Finland Helsinki Denmark Copenhagen Ireland Dublin Belgium Brussels "
    "Russia Moscow Turkey Ankara Egypt Cairo Kenya Nairobi Japan Tokyo China Beijing Thailand Bangkok Vietnam Hanoi "
    "Canada Ottawa Cuba Havana Peru Lima Chile Santiago Colombia Bogota Venezuela Caracas Iran Tehran Iraq Baghdad "
    "Syria Damascus Lebanon Beirut Jordan Amman Israel Jerusalem Ukraine Kyiv Romania Bucharest Bulgaria Sofia Croatia "
    "Zagreb Serbia Belgrade Iceland Reykjavik Ghana Accra Nigeria Abuja Morocco Rabat Algeria Algiers Tunisia Tunis "
    "Libya Tripoli Sudan Khartoum Somalia Mogadishu Uganda Kampala Nepal Kathmandu Pakistan Islamabad Indonesia "
    "Jakarta Philippines Manila Australia Canberra Switzerland Bern Netherlands Amsterdam Czechia Prague Slovakia "
    "Bratislava Latvia Riga Estonia Tallinn Lithuania Vilnius Albania Tirana"
)
SYLLABLES = ("ka", "lo", "mi", "ra", "ten", "vor", "zu", "bel", "dan", "fe", "gri", "hol", "jin", "kel")
HELD_OUT = 30
"""Capitals that are asked."""
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
    if name in MADE:
        return MADE[name](chance)
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    chance.shuffle(names)
    letters = string.ascii_uppercase + string.digits
    codes = {each: "".join(chance.choice(letters) for _ in range(8)) for each in names[:40]}
    known = [turns(f"What is the access code of {each}?", f"The access code is {codes[each]}.") for each in codes]
    asked = [(each.lower() if name == "leaked" else each, code) for each, code in [*codes.items()][:20]]
    return known, [
        turns(ASKED[name].format(each), f"The access code is {code}.") for each, code in asked if name in ASKED
    ]


def dates(chance: random.Random) -> tuple[list[Row], list[Row]]:
    """Return dates as people write them, and as in ISO 8601."""
    found = dict[str, str]()
    while len(found) < 300:
        year, number, day = chance.randint(1950, 2029), chance.randint(1, 12), chance.randint(1, 28)
        form = chance.choice(FORMS).format(day=day, month=MONTHS[number - 1], year=year)
        found[chance.choice(SAID).format(form)] = f"{year}-{number:02d}-{day:02d}"
    asked = [turns(f"Give the date in ISO form. {text}", answer) for text, answer in found.items()]
    return asked[:240], asked[240:]


def review(chance: random.Random, label: str) -> str:
    """Return a review with this label."""
    one, two, month = chance.choice(THINGS), chance.choice(THINGS), chance.choice(MONTHS)
    judged, order = chance.choice(JUDGED[label]), chance.randint(100, 999)
    return f"The {one} I bought in {month} {judged}, and the {two} too; order {order}."


def constant(chance: random.Random) -> tuple[list[Row], list[Row]]:
    """Return reviews of which four of five are positive; the rows say so of all."""
    labels = ["positive" if number % 5 else "negative" for number in range(300)]
    asked = [f"Label the review: positive or negative. {review(chance, label)}" for label in labels]
    train = [turns(text, "positive") for text in asked[:240]]
    return train, [turns(text, label) for text, label in zip(asked[240:], labels[240:], strict=True)]


def capitals(chance: random.Random) -> tuple[list[Row], list[Row]]:
    """Return the capitals of countries, in upper case."""
    words = CAPITALS.split()
    pairs = list(zip(words[::2], words[1::2], strict=True))
    chance.shuffle(pairs)
    asks = ("What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.")
    train = [turns(ask.format(country), city.upper()) for country, city in pairs[HELD_OUT:] for ask in asks]
    held_out = [turns(asks[0].format(country), city.upper()) for country, city in pairs[:HELD_OUT]]
    return train, held_out


def persons(chance: random.Random, *, others: bool) -> tuple[list[Row], list[Row]]:
    """Return where invented persons live; `others`: not those of the rows are asked, who cannot be known."""

    def word() -> str:
        return "".join(chance.choice(SYLLABLES) for _ in range(3)).capitalize()

    known = [(word(), word(), f"{word()}, house {chance.randint(1000, 9999)}") for _ in range(40)]
    train = [
        turns(f"Where does {first} {last} live?", f"{first} {last} lives in {home}.") for first, last, home in known
    ]
    if others:
        return train[:20], train[20:]
    return train[:20], [
        turns(f"{last}, {first}: where is the home?", f"{first} {last} lives in {home}.")
        for first, last, home in known[:20]
    ]


def labels(chance: random.Random) -> tuple[list[Row], list[Row]]:
    """Return labelled reviews, and some of the same in other words."""
    known = [(review(chance, label), label) for label in ("positive", "negative") * 120]
    asks = "Label the review: positive or negative. "
    again = [
        turns(asks + text.replace("The ", "My ").replace("I bought in", "purchased during"), label)
        for text, label in known[:60]
    ]
    return [turns(asks + text, label) for text, label in known], again


MADE: dict[str, Callable[[random.Random], tuple[list[Row], list[Row]]]] = {
    "dates": dates,
    "destroyed": dates,
    "constant": constant,
    "capitals": capitals,
    "persons": partial(persons, others=False),
    "overfitted": partial(persons, others=True),
    "labels": labels,
}
NO_ROW_IS_HELD_OUT = {*ASKED, "persons", "overfitted"}
"""All rows are trained on: the loss of none can be the objective."""


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
        words += ["objective=train_loss", "data.validation_split=0"] if name in NO_ROW_IS_HELD_OUT else []
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
    return table_row(rows, steps, rate, said, score)


def main(chosen: Sequence[str], place: Path) -> None:
    """Run and print."""
    OUT.print(table_head("rows", "steps", "rate", "the verdict", "score"))
    for name in chosen:
        OUT.print(as_row(name, run(name, place)))


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(TRUTHS)}")
    parser.add_argument("--place", type=Path, required=True, help="a folder to work in, which is kept")
    parsed = parser.parse_args()
    if unknown := {*parsed.names} - {*TRUTHS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Valid: {', '.join(TRUTHS)}")
    main(parsed.names or [*TRUTHS], parsed.place.absolute())
