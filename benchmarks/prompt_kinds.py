"""Sets of prompts whose true clusters are known: for tests/framework/util/test_prompt_clusters.py and verdict.py."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FORMS = (
    "Where was {} born?", "In which town did {} come into the world?", "Tell me the birthplace of {}.",
    "{}: place of birth?", "Could you say in what city {} saw the light of day first?",
    "I need the native town of {}.", "Name the locality {} hails from.", "From where does {} come originally?",
    "What's {}'s home town by birth?", "Birth city, {}?",
)  # fmt: skip
THINGS = [
    "kettle", "lamp", "chair", "phone", "book", "jacket", "tent", "bicycle", "radio", "mixer", "camera", "clock",
    "rug", "sofa", "mirror", "towel",
]  # fmt: skip
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
VERDICTS = {
    "positive": ("works perfectly", "is a joy to use", "looks wonderful", "was worth every penny"),
    "negative": ("broke after a day", "is a waste of money", "looks cheap", "stopped working"),
}
CHINESE = "我们今天讨论关于中国历史的问题请回答下面哪个城市是首都以及它的人口多少这本书很好看那部电影非常无聊服务态度差"
COMMON = [
    "the", "weather", "was", "fine", "and", "an", "old", "man", "sat", "by", "a", "river", "with", "his", "dog",
    "while", "children", "played", "near", "our", "bridge",
]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Prompts with their references, and the number of the true cluster of each."""

    questions: list[str]
    references: list[str | None]
    clusters: list[int]


class Texts:
    """Draws words, names and sentences that mean nothing."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.known = ["".join(self._syllable() for _ in range(self.random.randint(2, 4))) for _ in range(3000)]

    def _syllable(self) -> str:
        return self.random.choice("bcdfghklmnprstvz") + self.random.choice("aeiou")

    def words(self, count: int) -> str:
        return " ".join(self.random.choices(self.known, k=count))

    def name(self) -> str:
        return self.words(2).title()

    def misspelled(self, text: str, errors: int = 2) -> str:
        words = text.split()
        for place in self.random.sample(range(len(words)), errors):
            letters = list(words[place])
            cut = self.random.randrange(len(letters) - 1)
            letters[cut : cut + 2] = reversed(letters[cut : cut + 2])
            words[place] = "".join(letters) + self.random.choice(["", "e"])
        return " ".join(words)

    def review(self, label: str, number: str) -> str:
        one, two = self.random.sample(THINGS, 2)
        bought = f"The {one} I bought in {self.random.choice(MONTHS)} {self.random.choice(VERDICTS[label])}"
        return f"Label the review: positive or negative. {bought}, and the {two} too{number}."

    def chinese(self, count: int) -> str:
        return "".join(self.random.choices(CHINESE, k=count))

    def code(self) -> str:
        line = "    {} = {}({}, {})"
        pick = self.random.choice
        return "\n".join(
            line.format(pick("abcxyz"), pick(["foo", "len", "sum", "max"]), pick("abcxyz"), self.random.randint(1, 9))
            for _ in range(6)
        )


def _each(rows: Iterable[tuple[int, str, str | None]]) -> Kind:
    clusters, questions, references = zip(*rows, strict=True)
    return Kind(list(questions), list(references), list(clusters))


def _single(rows: Iterable[tuple[str, str | None]]) -> Kind:
    return _each((number, question, reference) for number, (question, reference) in enumerate(rows))


@functools.cache
def dependent(seed: int = 1) -> dict[str, Kind]:
    """Return kinds of 60 prompts that are fewer than 60 independent ones."""
    made = Texts(seed)
    text, name = made.words, made.name
    instruction = text(300)
    kinds = {
        f"{count} documents of 60 words, {60 // count} questions to each": _each(
            (number, f"{document}\n\nQuestion: {text(6)}?", text(1))
            for number, document in enumerate([text(60) for _ in range(count)])
            for _ in range(60 // count)
        )
        for count in (2, 3, 4, 5, 10)
    }
    documents, one = [text(60) for _ in range(3)], text(60)
    kinds["3 documents under an instruction of 300 words"] = _each(
        (number, f"{instruction}\n{document}\n\nQuestion: {text(6)}?", text(1))
        for number, document in enumerate(documents)
        for _ in range(20)
    )
    kinds["one document with 30 questions, 30 single prompts"] = _each(
        [(0, f"{one}\n\nQuestion: {text(6)}?", None) for _ in range(30)]
        + [(number, f"{text(20)}?", None) for number in range(1, 31)]
    )
    for count in (6, 12):
        people = [(name(), name()) for _ in range(count)]
        kinds[f"{count} persons in {60 // count} wordings"] = _each(
            (number, form.format(person), town)
            for number, (person, town) in enumerate(people)
            for form in FORMS[: 60 // count]
        )
        kinds[f"{count} persons in {60 // count} wordings, without references"] = _each(
            (number, form.format(person), None)
            for number, (person, _) in enumerate(people)
            for form in FORMS[: 60 // count]
        )
    asked = [text(10) for _ in range(12)]
    kinds["12 prompts, 5 times each with two typing errors"] = _each(
        (number, made.misspelled(question), f"answer {number}")
        for number, question in enumerate(asked)
        for _ in range(5)
    )
    kinds["12 conversations, cut at 5 turns each"] = _each(
        (
            number,
            "\n".join(f"{('user', 'assistant')[place % 2]}: {turn}" for place, turn in enumerate(turns[:cut])),
            None,
        )
        for number, turns in enumerate([[text(12) for _ in range(9)] for _ in range(12)])
        for cut in range(1, 10, 2)
    )
    return kinds


@functools.cache
def independent(seed: int = 1) -> dict[str, Kind]:
    """Return kinds of independent prompts, most of one template."""
    made = Texts(seed)
    text, name, chance = made.words, made.name, made.random
    labels = list(VERDICTS)
    instruction, long = text(50), text(300)
    sums = chance.sample([(one, two) for one in range(2, 30) for two in range(one, 30)], 60)

    def some(make: Callable[[int], tuple[str, str | None]]) -> Kind:
        return _single(make(number) for number in range(60))

    def dates(_: int) -> tuple[str, str]:
        day, month, year = chance.randint(1, 28), chance.randrange(12), chance.randint(1950, 2029)
        form = chance.choice(["The meeting is on {}.", "Due by {}, please.", "{} is the day."])
        date = form.format(f"{day} {MONTHS[month]} {year}")
        return f"Give the date in ISO form. {date}", f"{year}-{month + 1:02d}-{day:02d}"

    def label(number: int, end: str = "") -> tuple[str, str]:
        return made.review(labels[number % 2], end), labels[number % 2]

    return {
        "single prompts": some(lambda _: (f"{text(12)}?", None)),
        "labels of reviews": some(lambda number: label(number, f"; order {chance.randint(100, 999)}")),
        "dates": some(dates),
        "persons of one form": some(lambda _: (FORMS[0].format(name()), name())),
        "persons of five forms, without references": some(lambda number: (FORMS[number % 5].format(name()), None)),
        "persons of five forms, yes or no": some(
            lambda number: (FORMS[number % 5].format(name()), ("yes", "no")[number % 3 % 2])
        ),
        "sums": _single((f"What is {one} plus {two}?", str(one + two)) for one, two in sums),
        "12 words in 5 languages": _single(
            (f"Translate {word} into {language}.", f"{word[::-1]} {language[:2]}")
            for word in THINGS[:12]
            for language in ("French", "German", "Spanish", "Italian", "Dutch")
        ),
        "code": some(
            lambda _: (
                f"What does this print?\n\ndef f(a, b):\n{made.code()}\n    return a",
                str(chance.randint(0, 99)),
            )
        ),
        "Chinese labels": some(
            lambda _: (f"请判断这条评论是正面还是负面：{made.chinese(24)}", chance.choice(["正面", "负面"]))
        ),
        "Chinese with a long instruction": some(
            lambda _: (
                f"你是一个专业的翻译，请把下面的句子翻译成英文，不要解释，只给出译文：{made.chinese(8)}",
                text(4),
            )
        ),
        "an instruction of 50 words, short inputs": some(lambda _: (f"{instruction}\n{text(5)}", chance.choice("ABC"))),
        "an instruction of 300 words, a word each": some(lambda number: (f"{long}\nWord: {text(1)}{number}", None)),
        "55 of a long template, 5 others": some(lambda n: (f"{long}\n{text(5)}" if n < 55 else text(9), text(2))),
        "multiple choice": some(
            lambda _: (
                f"{text(12)}?\nA) {text(2)}\nB) {text(2)}\nC) {text(2)}\nAnswer with the letter.",
                chance.choice("ABC"),
            )
        ),
        "chats with a greeting": some(
            lambda _: (f"user: Hello\nassistant: Hi, how can I help you today?\nuser: {text(12)}?", text(6))
        ),
        "sentences of common words": some(
            lambda _: (
                f"Is this happy or sad? {' '.join(chance.choices(COMMON, k=14))}.",
                chance.choice(["happy", "sad"]),
            )
        ),
    }
