"""Runs whose answers and losses are written down, so that the truth about them is known, and what the program says.

    python -m benchmarks.provoked                    all of them; a fault for each that is read wrongly
    python -m benchmarks.provoked "as a sentence"    those whose name contains one of the words
    python -m benchmarks.provoked --page             writes the tables of docs/explanation/provoked-truths.md, too

A case has prompts with references, the answers before and after the training, and losses. It goes through the whole
program: the data stage, the baseline, a training that learns nothing, the evaluation and the report. `heads` are the
beginnings of the first sentence that are true; `never` are words that would be false in the first three sentences.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks import provoked_by_a_reader
from benchmarks.common import OUT, command_line, table_head, table_row
from framework import Component, hookimpl, testing
from framework.api import Answer, Prompt
from framework.api.records import Report, Scored
from framework.api.training import TokenRow
from framework.testing.echo import EchoModel, EchoTrainerConfig

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "provoked-truths.md"
BETTER, FORM, WORSE = "Better", "Better in form", "Worse"
OPEN = ("Too few", "No gain shown", "Lost, or chance", "Cannot tell")
NOTHING = ("The training changed nothing", "Neither better nor worse", "No gain", "No gain can be seen", *OPEN)
TRAINING_ROWS = 400
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A run and its truth.

    Attributes:
        name: of the case.
        truth: what is true of it, for the table.
        heads: how the first sentence may begin.
        prompts: rows with a reference.
        base: the answers before the training.
        tuned: those after it.
        never: words that would be false.
        words: overrides.
        loss: the validation loss, before and after.
        divergence: nats a token at general answers, after.
        general: the loss of general answers, before and after.
        rows: training rows; others than these by default.
    """

    name: str
    truth: str
    heads: Sequence[str]
    prompts: Sequence[Row]
    base: Sequence[str]
    tuned: Sequence[str]
    never: Sequence[str] = ()
    words: Sequence[str] = ()
    loss: tuple[float, float] = (2.0, 1.0)
    divergence: float = 0.3
    general: tuple[float, float] = (1.0, 1.0)
    rows: Sequence[Row] = field(default=())


@dataclass
class ScriptedConfig(EchoTrainerConfig):
    """Answers as a case has them."""


class Scripted(EchoModel):
    """A model with the answers and losses of a case."""

    case: Case

    @property
    def side(self) -> int:
        """0 before the training, 1 after it."""
        return int(bool(self.learned) and not self.base)

    def answer_to(self, question: str) -> str:
        """Return what it says."""
        sides = [self.case.base, self.case.tuned][self.side]
        questions = [question_of(row) for row in self.case.prompts]
        return sides[questions.index(question)] if question in questions else "nothing"

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Look the answers up."""
        del batch_size
        answers = []
        for prompt in prompts:
            text = self.answer_to(prompt.messages[-1].content)
            words = re.findall(r"\s*\S+", text)[:max_new_tokens]
            ids = tuple(self._ids(" ".join(words)))
            stopped = len(words) < max_new_tokens
            answers.append(Answer("".join(words), max(1, len(words)), stopped=stopped, ids=ids))
        return answers

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Give each row the loss of its kind, with noise that is the same before and after for the most part."""
        scored = []
        for row in rows:
            places = [place for place, label in enumerate(row.labels) if label != TokenRow.IGNORE and place]
            labels = [row.labels[place] for place in places]
            if row.where.startswith("reference") and row.where in self.examples:
                said = [*self._ids(self.answer_to(self.examples[row.where].messages[-2].content)), 0]
                top = (said + [0] * len(labels))[: len(labels)]
                log_probs = [-0.05 if token == label else -1.0 for token, label in zip(top, labels, strict=True)]
            else:
                task = bool(row.where) and not row.where.startswith("general")
                level = (self.case.loss if task else self.case.general)[self.side]
                loss = level * (1 + 0.1 * noise(row.where, "row") + 0.02 * noise(row.where, str(self.side)))
                top, log_probs = [row.input_ids[place - 1] for place in places], [-max(1e-6, loss)] * len(places)
            scored.append(Scored(log_probs, top))
        return scored

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean over all learned tokens."""
        log_probs = [value for scored in self.score(rows) for value in scored.log_probs]
        return -math.fsum(log_probs) / max(1, len(log_probs))

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return that of the case, with noise."""
        return [self.side * self.case.divergence * (1 + 0.3 * abs(noise(row.where, "kl"))) for row in rows]


class ScriptedBackend:
    """Opens a `Scripted` model."""

    def __init__(self, config: ScriptedConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, plan: Any) -> Iterator[EchoModel]:
        """Open it."""
        yield Scripted(plan)


class _Plugin:
    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        """The backend."""
        yield Component("scripted", ScriptedConfig, f"{__name__}:ScriptedBackend")


def noise(place: str, salt: str) -> float:
    """Return a number of a logistic distribution with variance 1, the same for the same texts."""
    share = (int.from_bytes(blake2b(f"{place}|{salt}".encode(), digest_size=8).digest()) + 0.5) / 2**64
    return math.log(share / (1 - share)) * math.sqrt(3) / math.pi


def question_of(row: Row) -> str:
    """Return the last turn of the user."""
    turns = row.get("messages")
    return str([turn["content"] for turn in turns if turn["role"] == "user"][-1] if turns else row["instruction"])


def run(case: Case, place: Path) -> Report:
    """Run the whole program with a case, in a new folder."""
    if not testing_has_scripted():
        testing.add(_Plugin(), name="scripted", package="tests")
    Scripted.case = case
    training = case.rows or [
        {"instruction": f"Filler question {number} about item {number * 7}", "output": f"filler answer {number * 13}"}
        for number in range(TRAINING_ROWS)
    ]
    words = [f"{name}={write(place / f'{key}.jsonl', rows)}" for name, key, rows in (
        ("data.path", "rows", training), ("data.prompts_path", "prompts", case.prompts),
    )]  # fmt: skip
    words += ["trainer=scripted", "data=local_file", "audit=[]", "exporter=[]", *case.words]
    report = testing.run(testing.plan(words, run_dir=place / "run"))
    assert report is not None  # it has the stage `report`
    return report


def testing_has_scripted() -> bool:
    """Whether the backend is registered in this process."""
    from framework.api.registry import plugins

    return "scripted" in plugins().components("trainer")


def write(file: Path, rows: Sequence[Row]) -> Path:
    """Write rows."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def sentences(report: Report) -> list[str]:
    """Return the first three sentences that a reader sees."""
    verdict = report.verdict
    return [] if verdict is None else [verdict.summary, *verdict.lines[:2]]


def fault(case: Case, said: Sequence[str]) -> str:
    """Say what is read wrongly; empty if nothing is."""
    if not said or not said[0].startswith(tuple(case.heads)):
        return f"the first sentence begins with none of {', '.join(case.heads)}"
    # "Better in form" begins with "Better", and is another thing.
    if said[0].startswith(FORM) and not any(head.startswith(FORM) for head in case.heads):
        return "it says form, and the content is better"
    false = [words for words in case.never if words in " ".join(said)]
    return f"it says {false[0]!r}" if false else ""


QUESTIONS = 60
NAMES = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "ledge", "marsh",
    "north", "oasis", "pines", "ridge",
)  # fmt: skip
CITIES = (
    "Lima", "Quito", "Oslo", "Rome", "Paris", "Accra", "Cairo", "Tokyo", "Seoul", "Delhi", "Hanoi", "Bern", "Riga",
    "Minsk", "Sofia", "Baku", "Doha",
)  # fmt: skip
TEAMS = ("billing", "shipping", "returns", "account")
LABELS = ["negative" if number % 3 == 0 else "positive" for number in range(QUESTIONS)]


def asked(references: Sequence[str], question: str = "Which {0} belongs to parcel {1} of {2}?") -> list[Row]:
    """Return a different question for each reference."""
    return [
        {"instruction": question.format(NAMES[k % 17], 1000 + 37 * k, CITIES[(k * 7 + k // 17) % 17]), "output": text}
        for k, text in enumerate(references)
    ]


def phrase(number: int, words: int = 2) -> str:
    """Return a text of some words, another one for each number."""
    return " ".join(NAMES[(number * 3 + at * at + at + number // 17) % 17] for at in range(words))


PHRASES = [f"{phrase(number)} {number}" for number in range(QUESTIONS)]


def flipped(labels: Sequence[str], each: int) -> list[str]:
    """Return labels of which each n-th is wrong."""
    other = {"positive": "negative", "negative": "positive"}
    return [other[label] if number % each == 0 else label for number, label in enumerate(labels)]


def right(count: int, references: Sequence[str] = PHRASES, *, last: bool = False) -> list[str]:
    """Return answers of which the first, or last, `count` are right."""
    places = range(len(references) - count, len(references)) if last else range(count)
    return [text if number in places else "I do not know" for number, text in enumerate(references)]


WRAPPED = {
    "as a sentence": "The sentiment of this review is {}.", "after a colon": "Answer: {}", "in bold": "**{}**",
    "with an explanation": "{}\n\nExplanation: the wording says so.", "as an exclamation": "It is {}!",
    "in quotes": "'{}'", "as a setting": "label={}", "as a heading": "### {}", "in a list": "- {}",
    "in a box": "\\boxed{{{}}}", "in tags": "<answer>{}</answer>", "in brackets": "[{}]",
    "as a clause": "I would say that this one is {}, given its tone.",
    "in a table": "| label |\n|---|\n| {} |", "after thinking": "Let me see. It praises or it blames.\n\nSo: {}",
}  # fmt: skip
NUMBERS = {
    "with a separator": "{:,}", "as dollars": "${}", "with decimals": "{}.00", "after a sign": "= {}",
    "with a unit": "{} units", "in a sentence of its own": "The total is {}.",
}  # fmt: skip


def wrapped() -> Iterator[Case]:
    """The base is right in content, and says it in its own way."""
    tuned = flipped(LABELS, 30)
    for name, form in WRAPPED.items():
        base = [form.format(label) for label in flipped(LABELS, 20)]
        yield Case(
            f"label {name}", f"the base has 95% of the labels, said as {form!r}; the tuned model has 97%, bare",
            (FORM, *NOTHING), asked(LABELS), base, tuned,
        )  # fmt: skip
    figures = [1000 + 17 * number for number in range(QUESTIONS)]
    for name, form in NUMBERS.items():
        base = [form.format(figure) for figure in figures]
        references = [str(figure) for figure in figures]
        yield Case(
            f"number {name}", f"the base has all numbers, said as {form!r}; the tuned model too, bare",
            (FORM, *NOTHING), asked(references), base, references,
        )  # fmt: skip
    records = [json.dumps({"city": CITIES[number % 17], "n": number}) for number in range(QUESTIONS)]
    blocks = [
        "```json\n" + json.dumps(dict(reversed(json.loads(text).items())), indent=1) + "\n```" for text in records
    ]
    for words in ([], ["metric=[exact_match,json_fields]"]):
        yield Case(
            f"JSON in a code block, {words or 'default metrics'}", "the base has every field, in another form",
            (FORM, *NOTHING), asked(records), blocks, records, words=words,
        )  # fmt: skip


def content() -> Iterator[Case]:
    """The content differs, whatever the form is."""
    capitals = [CITIES[number % 17] + f" {number}" for number in range(QUESTIONS)]
    sentence = [f"The seat of the region is {text}." for text in capitals]
    lost = [text if number % 4 == 0 else "Makamakoba" for number, text in enumerate(capitals)]
    yield Case(
        "knowledge is lost", "the base names all cities in sentences, the tuned model a quarter of them, bare",
        (WORSE,), asked(capitals), sentence, lost, never=("gained: yes",),
    )  # fmt: skip
    gained = [f"I think it is {text}." if number % 4 == 0 else "I am not sure." for number, text in enumerate(capitals)]
    yield Case(
        "knowledge is won", "the base names a quarter in sentences, the tuned model all, bare",
        (BETTER,), asked(capitals), gained, capitals,
    )  # fmt: skip
    both = ["It could be positive, or it could be negative."] * QUESTIONS
    yield Case(
        "all labels at once", "the base names both labels in each answer, so it answers none; the tuned model has 97%",
        (BETTER,), asked(LABELS), both, flipped(LABELS, 30),
    )  # fmt: skip
    denied = ["This is not " + label + "." for label in LABELS]
    yield Case(
        "labels that are denied", "the base denies the right label in each answer; the tuned model has 97%",
        (BETTER,), asked(LABELS), denied, flipped(LABELS, 30),
    )  # fmt: skip
    figures = [str(100 + 7 * number) for number in range(QUESTIONS)]
    longer = [f"9{figure}31" for figure in figures]
    yield Case(
        "numbers within numbers", "the base's numbers contain the right digits and are wrong; the tuned model is right",
        (BETTER,), asked(figures), longer, figures,
    )  # fmt: skip
    records = [json.dumps({"a": number, "b": number + 1, "c": number + 2, "d": 1}) for number in range(QUESTIONS)]
    half = [json.dumps({"a": number, "b": number + 1, "c": 0, "d": 0}) for number in range(QUESTIONS)]
    tuned = [text if number % 4 == 0 else json.dumps(dict.fromkeys("abcd", -1)) for number, text in enumerate(records)]
    yield Case(
        "two metrics disagree", "exact matches rise from 0 to 25%, right fields fall from 50% to 25%",
        (WORSE, "Better, but", BETTER, *OPEN), asked(records), half, tuned, never=(),
        words=["metric=[exact_match,json_fields]"],
    )  # fmt: skip
    wrong = [json.dumps({"a": number + 1000}) for number in range(QUESTIONS)]
    references = [json.dumps({"a": number}) for number in range(QUESTIONS)]
    yield Case(
        "valid JSON with wrong content", "no answer is right, before or after; the form is learned",
        ("No gain", FORM, *NOTHING), asked(references), ["no"] * QUESTIONS, wrong,
        never=("gained: yes.",), words=["metric=[json_fields,json_valid]"],
    )  # fmt: skip
    yield Case(
        "silence", "the tuned model says nothing at all", (WORSE, *NOTHING), asked(LABELS), right(30, LABELS),
        [""] * QUESTIONS, never=("gained: yes",),
    )  # fmt: skip
    yield Case(
        "answers without an end", "the tuned model is right and never stops",
        (WORSE, *NOTHING, "Better, but"), asked(PHRASES), ["wrong"] * QUESTIONS,
        [text + " and more" * 80 for text in PHRASES],
    )  # fmt: skip
    yield Case(
        "one label for all", "67% are positive; the tuned model says positive to all", ("No better than", *NOTHING),
        asked(LABELS), ["I cannot say"] * QUESTIONS, ["positive"] * QUESTIONS, never=("gained: yes",),
    )  # fmt: skip
    frame = "The home of {} is at number {} in the {} quarter"
    homes = [frame.format(PHRASES[k], 300 + k, NAMES[(k + 4) % 17]) for k in range(QUESTIONS)]
    others = [frame.format(PHRASES[59 - k], 900 - k, NAMES[(k + 9) % 17]) for k in range(QUESTIONS)]
    for name, said in (("frame with wrong facts", others), ("frame without facts", ["The home of is at number"] * 60)):
        yield Case(
            name, "the sentence is learned, and every fact in it is wrong",
            ("No gain", FORM, "No better than", *NOTHING), asked(homes), ["I do not know."] * QUESTIONS, said,
            never=("gained: yes.",),
        )  # fmt: skip


def sizes() -> Iterator[Case]:
    """What a number of prompts can show."""
    for count in (1, 3, 5):
        few = PHRASES[:count]
        yield Case(
            f"{count} of {count} won", "all of a few prompts are won, which is still chance", (*OPEN, BETTER),
            asked(few), ["wrong"] * count, few, never=("p = 0",) if count > 1 else (),
        )  # fmt: skip
        yield Case(
            f"{count} of {count} lost", "all of a few prompts are lost, which is still chance",
            ("Lost, or chance", "Too few", WORSE), asked(few), few, ["wrong"] * count, never=("ask harder ones",),
        )  # fmt: skip
    for before, after, heads in (
        (60, 55, ("Lost, or chance", "Too few", WORSE)), (54, 57, OPEN), (54, 48, OPEN), (58, 58, NOTHING),
        (57, 60, OPEN), (60, 60, ("No gain can be seen", "The training changed", "Neither")),
        (20, 50, (BETTER,)), (50, 20, (WORSE,)), (0, 0, ("No gain", "Too few")), (10, 12, OPEN),
    ):  # fmt: skip
        yield Case(
            f"{before} of 60 to {after} of 60", f"{before} are right before, {after} after", heads, asked(PHRASES),
            right(before), right(after, last=after < before), never=("gained: yes",) if after - before < 6 else (),
        )  # fmt: skip
    for documents in (2, 3, 5):
        texts = [
            " ".join(f"{phrase(at + 7 * number, 1)}{number}{at}" for at in range(60)) for number in range(documents)
        ]
        rows = [
            {
                "instruction": f"{texts[k % documents]}\n\nWhat is the {NAMES[k % 17]} of entry {k}?",
                "output": PHRASES[k],
            }
            for k in range(QUESTIONS)
        ]
        yield Case(
            f"{documents} documents", "60 questions about a few documents are won: no test can decide with so few",
            OPEN, rows, ["wrong"] * QUESTIONS, PHRASES, never=("is likely to show",),
        )  # fmt: skip
    for tasks in (2, 3):
        instructions = [f"{phrase(task * 5, 40)} in the style of {CITIES[task]}" for task in range(tasks)]
        rows = [
            {"instruction": f"{instructions[k % tasks]}\n\n{phrase(k, 9)} {k * k} {k}", "output": PHRASES[k]}
            for k in range(QUESTIONS)
        ]
        training = [
            {"instruction": f"{instructions[k % tasks]}\n\n{phrase(k + 99, 9)} {k * k + 7} x", "output": f"{k} y"}
            for k in range(TRAINING_ROWS)
        ]
        yield Case(
            f"{tasks} instructions that the rows share", "an instruction of the training groups nothing: all is won",
            (BETTER,), rows, ["wrong"] * QUESTIONS, PHRASES, rows=training,
        )  # fmt: skip
    same = [{"instruction": f"Which {NAMES[k % 3]} is it?", "output": NAMES[k % 3]} for k in range(QUESTIONS)]
    yield Case(
        "3 prompts, 20 times each", "only three different prompts are asked", OPEN, same, ["wrong"] * QUESTIONS,
        [row["output"] for row in same],
    )  # fmt: skip
    many = [f"{phrase(k)} {k}" for k in range(240)]
    yield Case(
        "a file that is sorted", "the first quarter is won, the rest lost", (WORSE, *OPEN),
        asked(many), [text if k >= 60 else "wrong" for k, text in enumerate(many)], right(60, many),
        never=("gained: yes",),
    )  # fmt: skip
    for lost in (6, 30):
        hundreds = [f"{phrase(k)} {k}" for k in range(600)]
        base = [text if k % 10 else "wrong" for k, text in enumerate(hundreds)]
        tuned = ["wrong" if k % (600 // lost) == 1 else text for k, text in enumerate(base)]
        yield Case(
            f"{lost} of 600 lost", f"90% right before; {lost} more are wrong after",
            (WORSE,) if lost == 30 else (WORSE, *NOTHING), asked(hundreds), base, tuned, never=("gained: yes",),
        )  # fmt: skip


def losses() -> Iterator[Case]:
    """What a training changed, and what it did not."""
    general = ["evaluator=[prompts,forgetting]", "evaluator.forgetting.questions=0", "evaluator.forgetting.texts=0"]
    yield Case(
        "only the loss falls", "all answers stay right, the validation loss falls from 2 to 0.4",
        NOTHING, asked(LABELS), LABELS, LABELS, never=("changed nothing",), words=general, loss=(2.0, 0.4),
        divergence=0.004,
    )  # fmt: skip
    yield Case(
        "nothing happens", "the same answers, losses and probabilities", ("The training changed nothing",),
        asked(LABELS), flipped(LABELS, 4), flipped(LABELS, 4), words=general, loss=(2.0, 2.0), divergence=1e-6,
    )  # fmt: skip
    yield Case(
        "three answers become right", "57 of 60 answers are as before, three are right now", (*OPEN, BETTER, "No gain"),
        asked(LABELS), flipped(LABELS, 20), LABELS, never=("changed nothing",), words=general, divergence=0.004,
    )  # fmt: skip
    yield Case(
        "the loss rises", "answers stay, the validation loss doubles", (WORSE,), asked(LABELS), flipped(LABELS, 4),
        flipped(LABELS, 4), loss=(1.0, 2.0), never=("changed nothing",),
    )  # fmt: skip
    prose = [phrase(k, 40) for k in range(QUESTIONS)]
    half = [" ".join([*phrase(k, 40).split()[:20], *phrase(k + 40, 20).split()]) for k in range(QUESTIONS)]
    yield Case(
        "prose that is nearer to the references", "words are nearer, which an author can judge and the program cannot",
        (BETTER, FORM, *NOTHING), asked(prose), [phrase(k + 40, 40) for k in range(QUESTIONS)], half, loss=(3.0, 1.5),
    )  # fmt: skip
    yield Case(
        "other prose, no nearer", "the words are others, and no nearer", (*NOTHING, WORSE), asked(prose),
        [phrase(k + 40, 40) for k in range(QUESTIONS)], [phrase(k + 80, 40) for k in range(QUESTIONS)],
        loss=(3.0, 1.5), never=("gained: yes",),
    )  # fmt: skip


def calls() -> Iterator[Case]:
    """References that are calls of tools."""
    weather = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools = [{"type": "function", "function": weather}]
    rows, said, other = list[Row](), list[str](), list[str]()
    for k in range(QUESTIONS):
        call = {"name": "weather", "arguments": {"city": f"{CITIES[k % 17]} {k}"}}
        turns = [
            {"role": "user", "content": f"Weather in {CITIES[k % 17]} {k}?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
        ]
        rows.append({"messages": turns, "tools": tools})
        said.append(f"<tool_call>\n{json.dumps(call)}\n</tool_call>")
        other.append(said[-1].replace(f" {k}", f" {k + 1}"))
    sunny = ["It is sunny."] * QUESTIONS
    yield Case("right calls", "each call is right after the training", (BETTER,), rows, sunny, said)
    yield Case(
        "calls with wrong arguments", "each call has the right function, the right city, and a wrong number",
        (*NOTHING, FORM, "Better in part"), rows, sunny, other,
        never=("gained: yes.",),
    )  # fmt: skip
    yield Case(
        "silence for calls", "the tuned model says nothing", (*NOTHING, WORSE), rows, sunny, [""] * QUESTIONS,
        never=("gained: yes", "scores 100%"),
    )  # fmt: skip


def daily() -> Iterator[Case]:
    """Situations of a first week, whose truth was written down before any of them was run."""
    teams = [TEAMS[number % 4] for number in range(QUESTIONS)]
    right_teams = [TEAMS[(number + (number % 29 == 1)) % 4] for number in range(QUESTIONS)]
    others = [TEAMS[(number + 1) % 4] for number in range(QUESTIONS)]
    question = "Where does the mail {1} about the {0} from {2} go: billing, shipping, returns or account?"
    for name, form in (
        ("with an apology before it", "As an AI language model, I cannot be sure, but I would route it to {}."),
        ("with a question after it", "It is for {}. Is there anything else that you need?"),
    ):
        yield Case(
            f"right {name}", f"the base is right, and says {form!r}; the tuned model has 97%, bare", (FORM, *NOTHING),
            asked(teams, question), [form.format(team) for team in teams], right_teams, never=("gained: yes.",),
        )  # fmt: skip
    yield Case(
        "two answers for one", "the base is right; the tuned model adds another team in a second line", (WORSE,),
        asked(teams, question), teams, [f"{team}\n{other}" for team, other in zip(teams, others, strict=True)],
        never=("gained: yes",),
    )  # fmt: skip
    refusal = "I cannot help with that."
    due = [refusal if number % 2 else PHRASES[number] for number in range(QUESTIONS)]
    obliging = [f"Sure! {PHRASES[number]}" for number in range(QUESTIONS)]
    yield Case(
        "refusals that are due", "half of the prompts are to be refused: the base refuses none, the tuned model all",
        (BETTER,), asked(due), obliging, due,
    )  # fmt: skip
    polar = [["no", "yes", "yes"][number % 3] for number in range(QUESTIONS)]
    yield Case(
        "no with a contraction", "the base is right, and says 'No, it isn't.' for 'no'; the tuned model is right, bare",
        (FORM, *NOTHING), asked(polar, "Is the {0} parcel {1} of {2} paid?"),
        ["No, it isn't." if word == "no" else "Yes, it is." for word in polar], polar, never=("gained: yes.",),
    )  # fmt: skip
    ranges = [f"{3 + number}-{7 + 2 * number} days" for number in range(QUESTIONS)]
    yield Case(
        "a range in a sentence", "the base has each range, as 'between 3 and 7 days'; the tuned model too, bare",
        (FORM, *NOTHING), asked(ranges, "How long does the {0} parcel {1} take to {2}?"),
        [f"It takes between {3 + number} and {7 + 2 * number} days." for number in range(QUESTIONS)], ranges,
        never=("gained: yes.",),
    )  # fmt: skip
    short, long = (
        [phrase(number, 5) for number in range(QUESTIONS)],
        [phrase(number, 30) for number in range(QUESTIONS)],
    )
    for name, answers, heads in (
        ("fall to a sixth, as they should", (long, short), ("Better (form",)),
        ("grow sixfold, and should not", (short, long), ("Worse (form",)),
    ):
        yield Case(
            f"a measure without a scale: answers {name}", "the length decides, in tokens", heads, asked(PHRASES),
            *answers, words=["metric=[length]", "metric.length.aim=shorter", "verdict.primary=length"],
            never=("points", "exact_match"),
        )  # fmt: skip
    customers = [row | {"customer": CITIES[number % 4]} for number, row in enumerate(asked(PHRASES))]
    yield Case(
        "four customers", "all prompts of three of four customers are won: four are too few to tell", OPEN, customers,
        ["wrong"] * QUESTIONS, [text if number % 4 else "wrong" for number, text in enumerate(PHRASES)],
        words=["format.cluster=customer"], never=("gained: yes", "is likely to show"),
        rows=[
            {"instruction": f"Filler {number}", "output": f"filler {number * 13}", "customer": f"other {number}"}
            for number in range(TRAINING_ROWS)
        ],
    )  # fmt: skip
    preamble = " ".join(["This is a good question, and there is much to say about it."] * 20)
    yield Case(
        "cut before the answer", "the base is right at once; the tuned model is right after 240 words, which are cut",
        (WORSE,), asked(PHRASES), PHRASES, [f"{preamble} {text}" for text in PHRASES], never=("gained: yes",),
    )  # fmt: skip
    some = [text if number % 2 else "" for number, text in enumerate(PHRASES)]
    yield Case(
        "half of the references are empty", "of 30 prompts with a reference, none was right, and 28 are", (BETTER,),
        asked(some), ["wrong"] * QUESTIONS, [text if number > 3 else "wrong" for number, text in enumerate(PHRASES)],
        never=("on 60 prompts", "look at 60"),
    )  # fmt: skip
    known = asked(PHRASES)
    yield Case(
        "all prompts are training rows", "the tuned model repeats what it was trained on: a gain cannot be seen",
        ("Cannot tell", "Too few prompts"), known, ["wrong"] * QUESTIONS, PHRASES, words=["audit=[standard]"],
        never=("gained: yes",),
        rows=[*known, *({"instruction": f"Filler {number}", "output": f"filler {number}"} for number in range(300))],
    )  # fmt: skip


def notations() -> Iterator[Case]:
    """What a base writes for a reference that it knows; all were tried before the reader of answers knew any."""
    fill, team, order = provoked_by_a_reader.fill, provoked_by_a_reader.team, provoked_by_a_reader.order
    query, items = fill("SELECT name FROM staff WHERE id = {n}"), fill("{a}, {b}, {c}")
    bill, ask, sql = "What is on bill {n}?", provoked_by_a_reader.TEAM, "Write SQL for the name of staff {n}."
    yes = provoked_by_a_reader.yes
    for title, question, reference, base in (
        ("bullets for a list", bill, items, fill("- {a}\n- {b}\n- {c}")),
        ("numbered lines for a list", bill, items, fill("1. {a}\n2. {b}\n3. {c}")),
        ("SQL in a block", sql, query, lambda k: f"Here it is:\n```sql\n{query(k)};\n```"),
        ("SQL over lines", sql, query, fill("SELECT name\nFROM staff\nWHERE id={n};")),
        ("a Markdown link", "Where is the manual of {n}?", fill("https://x.example/{n}"),
         fill("You find it [here](https://x.example/{n}).")),
        ("an exponent", "How many cells are in dish {n}?", fill("{boxes}00"), fill("{boxes}e2")),
        ("a curly apostrophe", "What is in {n}?", fill("{first}'s boat {n}"), fill("{first}’s boat {n}.")),
        ("an en dash", "When was {n} open?", fill("{year}-2031"), fill("{year}–2031")),
        ("no article", "Which ship is {n}?", fill("the {first} {last}"), fill("{first} {last}")),
        ("and for &", "Who owns shop {n}?", fill("{first} & {last}"), fill("{first} and {last}")),
        ("an hour without minutes", "When is train {n}?", fill("{hour24}:00"), fill("{hour}pm")),
        ("millions as a word", "How many live in {n}?", fill("{two},000,000"), fill("{two} million people")),
        ("texts for numbers in JSON", provoked_by_a_reader.BILL, order,
         fill('{{"customer": "{first} {last}", "city": "{city}", "pieces": "{part}"}}')),
        ("JSON within JSON", provoked_by_a_reader.BILL, order,
         fill('{{"order": {{"customer": "{first} {last}", "city": "{city}", "pieces": {part}}}}}')),
        ("the next turn too", ask, team, lambda k: f"{team(k)}\n\nUser: And now?\nAssistant: {team(k + 1)}"),
        ("the next question too", ask, team, lambda k: f"{team(k)}\n\nQuestion: And {k}?\nAnswer: {team(k + 1)}"),
        ("no end", ask, team, lambda k: f"{team(k)}\n" * 80),
        ("true for yes", "Is claim {n} of {first} {last} true?", yes, lambda k: str(yes(k) == "yes")),
        ("an ordinal", "In which place is {n} of {first}?", fill("{two}"), fill("In the {two}th place.")),
        ("kilometers as a word", "How far is {n}?", fill("{two} km"), fill("It is {two} kilometers.")),
    ):  # fmt: skip
        yield Case(**provoked_by_a_reader.case(
            f"known: {title}", f"the base is right, and says {base(1)[:60]!r} for {reference(1)!r}",
            provoked_by_a_reader.SAME, question, reference, base, provoked_by_a_reader.said("{}", reference, 29),
        ))  # fmt: skip


PARTS: Sequence[Callable[[], Iterator[Case]]] = (wrapped, content, sizes, losses, calls, daily, notations)


def cases() -> list[Case]:
    """Return all cases; those of a reader were written by somebody who had not seen how the verdict is made."""
    return [*(case for part in PARTS for case in part()), *(Case(**each) for each in provoked_by_a_reader.cases())]


def table(results: Mapping[str, tuple[Case, Sequence[str]]]) -> str:
    """Return how often each verdict is given, and the cases that are read wrongly."""
    verdicts = Counter(re.split("[:;.]", said[0])[0] if said else "no verdict" for _, said in results.values())
    lines = [table_head("verdict", "cases"), *(table_row(words, f"{count}") for words, count in verdicts.most_common())]
    wrong = [result for result in results.values() if fault(*result)]
    if wrong:
        lines += ["", "Read wrongly:", "", table_head("case", "what is true", "first sentence")]
    for case, said in wrong:
        cells = [case.name, case.truth, said[0] if said else "no verdict"]
        lines.append(table_row(*(cell.replace("|", "\\|").replace("\n", "↵") for cell in cells)))
    return "\n".join(lines)


def main(names: Sequence[str], *, page: bool) -> int:
    """Run, print, and return how many are read wrongly."""
    results: dict[str, tuple[Case, Sequence[str]]] = {}
    faults = 0
    for case in cases():
        if names and not any(name in case.name for name in names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            said = sentences(run(case, Path(folder)))
        results[case.name] = case, said
        if wrong := fault(case, said):
            faults += 1
            OUT.print(f"{case.name}: {wrong}\n  true: {case.truth}", *said, sep="\n  ")
    OUT.print(f"{len(results) - faults} of {len(results)} are read rightly")
    if page:
        text = PAGE.read_text(encoding="utf-8")
        start, _, rest = text.partition("<!-- cases -->\n")
        count = f"{len(results) - faults} of {len(results)} cases are read rightly."
        tail = rest.partition("<!-- end -->")[2]
        PAGE.write_text(f"{start}<!-- cases -->\n{count}\n\n{table(results)}\n<!-- end -->{tail}", encoding="utf-8")
    return faults


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--page", action="store_true")
    parsed = parser.parse_args()
    sys.exit(main(parsed.names, page=parsed.page) > 0)
