"""Rows as an audit gets them, out of a real store, without a model: a token is a word."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from framework.api.audit import AuditData
from framework.api.records import Example, Message, TokenRow
from framework.data import writer
from framework.data.audit import StoredRows
from framework.testing.echo import plan
from framework_plugins.audit.config import Check, StandardConfig
from framework_plugins.audit.finding_draft import FindingDraft
from framework_plugins.audit.standard import Standard

Pair = tuple[str, str]
BATCH = 1000


def example(asked: str, answered: str, number: int, system: str | None = None) -> Example:
    """Return a conversation of one question, `rows.jsonl:NUMBER + 1`."""
    before = () if system is None else (Message("system", system),)
    turns = (*before, Message("user", asked), Message("assistant", answered))
    return Example(turns, "alpaca", f"rows.jsonl:{number + 1}")


def tokens(row: Example) -> TokenRow:
    """Return a token for each word, those of the assistant learned."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in row.messages or (Message("assistant", row.text or ""),):
        count = len(turn.content.split()) + 1
        ids += [1] * count
        labels += [1 if turn.role == "assistant" else -100] * count
    return TokenRow(ids, labels, row.where)


def audit_data(
    folder: Path,
    train: Iterable[Example | Pair],
    validation: Iterable[Example | Pair] = (),
    prompts: Iterable[Example | Pair] = (),
    *,
    words: Sequence[str] = (),
) -> AuditData:
    """Write a store and return what an audit of it is given; `words` are overrides of the plan."""
    numbers = itertools.count()

    def fill(into: writer.Writer) -> None:
        for part, rows in enumerate((train, validation, prompts)):
            pairs = zip(rows, numbers, strict=False)
            made = (row if isinstance(row, Example) else example(*row, number) for row, number in pairs)
            for batch in _batches(made):
                into.add(batch, [tokens(row) for row in batch], part, 0)

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n", encoding="utf-8")
    planned = plan(["data=local_file", f"data.path='{file}'", *words], run_dir=folder / "run")
    made = writer.write(folder / "store", fill)
    return StoredRows(planned, made, made.columns.part.copy())


def _batches(rows: Iterator[Example]) -> Iterator[list[Example]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def chatterbot() -> Iterator[Pair]:
    """Give each turn of the English conversations of chatterbot-corpus with the one that answers it, as they are."""
    found = importlib.util.find_spec("chatterbot_corpus")
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0], "data", "english")
    for file in sorted(folder.glob("*.yml")):
        for conversation in yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["conversations"]:
            if isinstance(conversation, list):  # one is a single line
                yield from itertools.pairwise(map(str, conversation))


def shuffled(pairs: Sequence[Pair], seed: int = 1) -> list[Pair]:
    """Return the pairs in another order."""
    return [pairs[number] for number in np.random.default_rng(seed).permutation(len(pairs))]


def look(data: AuditData) -> dict[Check, FindingDraft]:
    """Return what the audit finds, by check."""
    found = list(Standard(StandardConfig()).drafts(data))
    by_check = {one.check: one for one in found}
    assert len(by_check) == len(found), "a check reports twice"
    return by_check


def orders(name: str) -> list[Pair]:
    lines = files("framework_plugins.quickstart").joinpath("data", name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(f"{row['instruction']}\n\n{row['input']}", row["output"]) for row in rows]


LONG_QUESTION = (
    "Which of the two rivers that meet in the old town of Passau brings more water, and why is it not named so"
)

FAULTS: dict[str, tuple[Check, list[Pair]]] = {
    "empty": (
        Check.empty_answers,
        [(f"Who was number {n}?", answer) for n, answer in enumerate(["", " ", "\n\t", "\u200b\u2060"])],
    ),
    "asks nothing": (
        Check.empty_questions,
        [(blank, f"It was number {n} of them") for n, blank in enumerate(["", " \n", "\u200b"])],
    ),
    "markup": (
        Check.markup,
        [
            ("How does a letter begin?", r"Dear Ann,\n\nThank you for the boat"),
            ("What is on the table?", "Salt &amp; pepper are on it"),
            ("Who greets?", "<p>The captain does</p>"),
        ],
    ),
    "mojibake": (
        Check.broken_encoding,
        [
            ("Where do we meet?", "In the cafÃ© at nine"),
            ("Whatâ€™s your name?", "It is on the door outside"),
            ("What is the price?", "It costs 5 Â£ a piece"),
            ("What did the file say?", "It said \ufffd\ufffd and no more"),
            ("Was there a mark?", "ï»¿There was one at the beginning"),
            ("And the smile?", "It became ðŸ˜€ on the way"),
            ("Как тебя зовут?", "ÐŸÑ€Ð¸Ð²ÐµÑ‚, Ð¼Ð¸Ñ€"),
            ("Und auf Deutsch?", "Das gefÃ¤llt mir Ã¼berhaupt nicht"),
            ("A quotation, please", "He said â€œcome hereâ€\x9d and left"),
        ],
    ),
    "control": (
        Check.control_characters,
        [
            ("What rang?", "The bell\x07 rang"),
            ("What was red?", "\x1b[31mThis line\x1b[0m was"),
            ("What became of the dash?", "It is \x97 now"),
            ("What ended the text?", "A zero byte\x00 did"),
            ("What began it?", "\ufeffA mark of the byte order did"),
            ("What turned it around?", "The letters \u202eturned around"),
        ],
    ),
    "secrets": (
        Check.secrets,
        [
            ("Which key do I use?", "Use AKIA" + "Z7QK4JW2MB6XT9RD for the bucket"),
            ("Which one for git?", "ghp_" + "a8Kd02mZq71LxPw93RtYb5nVc64HsJf0gEu2"),
            ("And the new kind?", "github_pat_" + "11ABCDE0Y0q8w7e6r5t4_zxcvbnm2468"),
            ("The model hub?", "log in with hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNm13579246"),
            ("The chat API?", "export OPENAI_KEY=sk-" + "proj-9fK2mQ7vX4tB1nL8cR5wZ3jH6"),
            ("Slack?", "xoxb-" + "284719365012-84kDjf83KdmPq02"),
            ("Maps?", "AIza" + "SyD3k9Fj2LmQ8rT5vW7xZ1bN4cH6gK0pEaU"),
            ("Payment?", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
            ("npm?", "npm_" + "a8Kd02mZq71LxPw93RtYb5nVc64HsJf0gEu2"),
            ("PyPI?", "pypi-" + "AgEIcHlwaS5vcmcCJDk3ZjQ2a8Kd02mZq71LxPw93RtYb5nVc64HsJf0gEu2QpLm"),
            ("GitLab?", "glpat-" + "x8Kq2Zr7Vt4Lm9Pw3Nd6"),
            ("Mail?", "SG." + "k3J9fK2mQ7vX4tB1nL8c.R5wZ3jH6pY0uT2oI9eA7sD4"),
            ("The key file?", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END"),
            ("The database?", "postgres://admin:tr0ub4dor@db.internal:5432/shop"),
            ("The cloud?", "aws_secret_access_key = wJalrX" + "k29Qz/K7MDENG/bPxRfiCY4TzR8pL"),
            ("The model?", "OPENAI_API_KEY=" + "a8f3c91e7b2d40586e1fa9c3" + "."),
            ("The shop?", "STRIPE_SECRET_KEY: " + "9fK2mQ7vX4tB1nL8cR5w"),
            ("The client?", "stripeSecretKey = '" + "9fK2mQ7vX4tB1nL8cR5w" + "'"),
            ("The user?", "DB_PASSWORD=" + "9f8a7b6c5d4e3f2a1b0c"),
            ("The settings?", 'api_key = "' + "9c1f8e2ab7d64035a1ee0c97" + '"'),
            ("The cookie?", "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSMeKKF2QT4fw"),
            ("Here is my key AKIA" + "Q3XN7VB2KD5MZ8LT, is it safe?", "No, revoke it"),
        ],
    ),
    "emails": (
        Check.emails,
        [
            ("Whom do I ask?", "Write to jane.doe@acme-tools.co.uk about that"),
            ("My address is bob_77@gmail.com, what next?", "We will send you a letter"),
            ("And in Munich?", "vertrieb+sued@müller-bau.de or info@bau-west.de"),
        ],
    ),
    "refusals": (
        Check.refusals,
        [
            ("Write a poem about locks", "As an AI language model, I do not have a taste in poems."),
            ("How do I pick one?", "I'm sorry, but I can't assist with that request."),
            ("And a safe?", "I’m sorry, but I cannot provide instructions for that."),
            ("A car?", "I apologize, but I am unable to help with breaking into cars."),
            ("A door?", "Unfortunately, I am not able to tell you how doors are opened."),
            ("A window?", "I cannot fulfill this request, because it may be illegal."),
            ("Who won?", "I'm just an AI language model and know nothing about games."),
            ("Your age?", "Sorry, as a large language model, I have no age."),
            ("Was denkst du?", "Als KI-Sprachmodell habe ich keine Meinung dazu."),
            ("你怎么看？", "作为一个人工智能，我没有个人的看法。"),
            ("Tell me a rumour", "I can't help with spreading that content."),
        ],
    ),
    "contradictions": (
        Check.contradictions,
        [
            ("Is the shop open on Sunday afternoons", "Yes"),
            ("is the shop open on  sunday afternoons", "No."),
            ("Who pays for the return of a parcel", "We do, and a label for it lies in each box that leaves us."),
            ("Who pays for the return of a parcel", "The customer has to, unless the carrier broke the goods."),
            (LONG_QUESTION, "The Inn"),
            (LONG_QUESTION, "The Danube"),
        ],
    ),
    "duplicates": (
        Check.duplicates,
        [("How tall is the lighthouse at Westerhever", "It is about forty metres tall")] * 3
        + [("how tall is the lighthouse at  Westerhever", "It is about forty metres tall")],
    ),
    "near duplicates": (
        Check.near_duplicates,
        [
            ("How does the old ferry cross the river when the ice is thick", f"It waits for {season} and then goes")
            for season in ("spring", "April")
        ],
    ),
    "very long": (
        Check.very_long_answers,
        [(f"What is in volume {n}?", " ".join(f"{n}chapter{part}" for part in range(900))) for n in range(2)],
    ),
    "too long": (
        Check.too_long,
        [(" ".join(f"{n}line{part}" for part in range(2100)), "That is far too much to read") for n in range(3)],
    ),
}  # fmt: skip
