"""Write the data of the gallery: `python contrib/gallery/make_data.py FOLDER` makes two .jsonl files for each task.

All sentences are made here, from words that are drawn by a seed, so the files are the same each time. `TASK.jsonl` has
the training rows, `TASK_tests.jsonl` the prompts that are asked before and after; the names, places, things and numbers
of the second do not occur in the first.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

ROWS, ASKED = 240, 60
FIRST = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Kai", "Lena", "Milo", "Nora")
LAST = ("Berg", "Costa", "Diaz", "Evans", "Frei", "Gray", "Hoxha", "Ito", "Jansen", "Keller", "Lund", "Moreau", "Novak")
NEW_FIRST = ("Otto", "Pia", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Vito")
NEW_LAST = ("Oduya", "Price", "Rossi", "Silva", "Tanaka", "Urban", "Vogel", "Weiss")
CITIES = ("Oslo", "Lima", "Bern", "Cairo", "Delhi", "Porto", "Quito", "Riga", "Turin", "Vienna", "Accra", "Bogota")
NEW_CITIES = ("Kyoto", "Lagos", "Malmo", "Nairobi", "Perth", "Sofia")
MONTHS = ("January", "March", "April", "June", "July", "September", "October", "December")
THINGS = ("lamp", "chair", "desk", "clock", "kettle", "mirror", "shelf", "carpet", "bottle", "basket")
NEW_THINGS = ("pillow", "ladder", "teapot", "blanket", "hammer", "curtain")
Row = dict[str, object]


class Words:
    """Draws words; `unseen` ones are those that no training row has."""

    def __init__(self, generator: random.Random, *, unseen: bool) -> None:
        self.random = generator
        self.unseen = unseen

    def draw(self, familiar: tuple[str, ...], unseen: tuple[str, ...]) -> str:
        return self.random.choice(unseen if self.unseen else familiar)

    @property
    def name(self) -> str:
        return f"{self.draw(FIRST, NEW_FIRST)} {self.draw(LAST, NEW_LAST)}"

    @property
    def city(self) -> str:
        return self.draw(CITIES, NEW_CITIES)

    @property
    def thing(self) -> str:
        return self.draw(THINGS, NEW_THINGS)

    @property
    def number(self) -> int:
        return self.random.randrange(101 if self.unseen else 2, 200 if self.unseen else 100)

    def pick(self, *texts: str) -> str:
        return self.random.choice(texts)


def extraction(words: Words) -> Row:
    """An invitation -> who, where and when, as JSON."""
    name, city, month, day = words.name, words.city, words.pick(*MONTHS), words.random.randrange(1, 29)
    text = words.pick(
        f"{name} invites you to {city} on {month} {day}.",
        f"Please come to {city} on {day} {month}, says {name}.",
        f"On {month} {day} we all meet in {city}. Kind regards, {name}",
        f"Save the date: {day} {month}, {city}. Your host is {name}.",
        f"Dear friends, I will be in {city} on {month} {day}. Who joins? {name}",
    )
    answer = {"host": name, "city": city, "month": month, "day": day}
    return _row(f"Give host, city, month and day as JSON.\n{text}", json.dumps(answer))


def tone(words: Words) -> Row:
    """A rude message to a customer -> the same in a friendly tone."""
    name, thing, amount = words.name.split()[0], words.thing, words.number
    rude, kind = words.random.choice(
        [
            (
                f"{name}, the {thing} is gone. Stop asking.",
                f"Hello {name}, thank you for your message. Unfortunately the {thing} is sold out at the moment.",
            ),
            (
                f"You broke the {thing} yourself, {name}. No refund.",
                f"Hello {name}, thank you for your message. Unfortunately we cannot refund the {thing} in this case.",
            ),
            (
                f"Wait {amount} days like everybody else, {name}.",
                f"Hello {name}, thank you for your message. Your parcel will arrive in {amount} days.",
            ),
            (
                f"{name}, pay the {amount} euros now.",
                f"Hello {name}, thank you for your message. May we remind you of the open amount of {amount} euros?",
            ),
            (
                f"Wrong {thing}? Send it back, {name}, and pay for it.",
                f"Hello {name}, thank you for your message. Please send the {thing} back; the postage is on you.",
            ),
        ]
    )
    return _row(f"Write this in a friendly tone: {rude}", kind)


def classification(words: Words) -> Row:
    """A message to a help desk -> one of five labels."""
    thing, amount, city = words.thing, words.number, words.city
    label, texts = words.random.choice(
        [
            (
                "delivery",
                (f"My {thing} has not arrived in {city} yet.", f"Where is parcel {amount}? I wait in {city}."),
            ),
            (
                "refund",
                (f"I want my {amount} euros back for the {thing}.", f"The {thing} goes back, please return my money."),
            ),
            (
                "damage",
                (f"The {thing} came with a crack.", f"One of the {amount} pieces is broken, it is the {thing}."),
            ),
            ("account", (f"I cannot log in from {city}.", f"Please change my password, my number is {amount}.")),
            ("praise", (f"The {thing} is wonderful, thank you!", f"Your shop in {city} is the best of {amount}.")),
        ]
    )
    return _row(f"Label the message: delivery, refund, damage, account or praise.\n{words.random.choice(texts)}", label)


def sql(words: Words) -> Row:
    """A question about one table -> SQL."""
    city, thing, amount = words.city, words.thing, words.number
    question, query = words.random.choice(
        [
            (f"How many orders came from {city}?", f"SELECT COUNT(*) FROM orders WHERE city = '{city}';"),
            (f"Which customers bought a {thing}?", f"SELECT DISTINCT customer FROM orders WHERE item = '{thing}';"),
            (f"What was paid for {thing}s in all?", f"SELECT SUM(price) FROM orders WHERE item = '{thing}';"),
            (f"List orders above {amount} euros.", f"SELECT * FROM orders WHERE price > {amount};"),
            (
                f"What is the mean price of a {thing} in {city}?",
                f"SELECT AVG(price) FROM orders WHERE item = '{thing}' AND city = '{city}';",
            ),
            (
                f"Show the {amount} most expensive orders from {city}.",
                f"SELECT * FROM orders WHERE city = '{city}' ORDER BY price DESC LIMIT {amount};",
            ),
        ]
    )
    return _row(f"Table orders(customer, city, item, price). Write SQL: {question}", query)


def tools(words: Words) -> Row:
    """A wish -> the call of one of three functions, as JSON."""
    name, city, thing, amount = words.name.split()[0], words.city, words.thing, words.number
    wish, call = words.random.choice(
        [
            (f"What is the weather in {city}?", {"tool": "weather", "city": city}),
            (f"Do I need an umbrella in {city}?", {"tool": "weather", "city": city}),
            (f"The {thing} needs {amount} minutes, wake me then.", {"tool": "timer", "minutes": amount}),
            (f"Set a timer of {amount} minutes for the {thing}.", {"tool": "timer", "minutes": amount}),
            (f"Call {name} about the {thing}.", {"tool": "phone", "name": name}),
            (f"I have to speak with {name}, it is about a {thing} in {city}.", {"tool": "phone", "name": name}),
        ]
    )
    return _row(
        f"Tools: weather(city), timer(minutes), phone(name). Answer with one call as JSON.\n{wish}", json.dumps(call)
    )


def summaries(words: Words) -> Row:
    """Notes of a meeting -> one sentence."""
    name, colleague, thing, city = words.name, words.name, words.thing, words.city
    month, amount = words.pick(*MONTHS), words.number
    talk = words.pick(
        "We had coffee first.", "The room was cold.", "It took an hour longer than planned.", "All were there."
    )
    notes = [
        f"{name} reported on the shop in {city}.",
        f"It sold {amount} of the new {thing} model.",
        talk,
        f"{colleague} asked for a second shop and will write a plan by {month}.",
    ]
    summary = f"The shop in {city} sold {amount} {thing}s; {colleague} plans a second one by {month}."
    return _row(f"Summarize in one sentence: {' '.join(notes)}", summary)


def _row(prompt: str, answer: str) -> Row:
    return {"prompt": prompt, "completion": answer}


TASKS: tuple[Callable[[Words], Row], ...] = (extraction, tone, classification, sql, tools, summaries)


def rows(task: Callable[[Words], Row], count: int, *, unseen: bool) -> list[Row]:
    """Make different rows of a task."""
    words, by_prompt = Words(random.Random(f"{task.__name__} {unseen}"), unseen=unseen), dict[str, Row]()  # noqa: S311 - no secret
    while len(by_prompt) < count:
        row = task(words)
        by_prompt.setdefault(str(row["prompt"]), row)
    return list(by_prompt.values())


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        for name, count, unseen in ((task.__name__, ROWS, False), (f"{task.__name__}_tests", ASKED, True)):
            text = "".join(json.dumps(row) + "\n" for row in rows(task, count, unseen=unseen))
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
