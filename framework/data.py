"""The data stage: rows of the source -> conversations -> token rows, split and checked before any weight is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from framework.errors import FrameworkError, one_line, place
from framework.plan import Plan
from framework.protocols import Formatter, Model, Source
from framework.records import DataResult, Example, Message, Prompt, Row, TokenRow
from framework.schema import Overflow

SHOWN_ERRORS = 10


@dataclass(frozen=True)
class Data:
    """What training and evaluation work on. `result` is the part that is saved."""

    train: list[TokenRow]
    validation: list[TokenRow]
    prompts: list[Prompt]
    result: DataResult


def load_data(plan: Plan, model: Model) -> Data:
    """Read, format, split and tokenize.

    Raises:
        FrameworkError: no rows, rows that do not fit the format, or nothing left to learn; names the rows.
    """
    source: Source = plan.data.create()
    raw = source.load()
    if not raw.train:
        message = f"data '{plan.data.component.name}' has no rows"
        raise FrameworkError(message)
    formatter: Formatter = plan.format.create()
    train = to_examples(raw.train, formatter)
    validation = to_examples(raw.validation, formatter)
    prompts = to_examples(raw.prompts, formatter)
    if not validation:
        train, validation = split(train, plan.data.config.validation_split, plan.seed)
    if prompts:
        model.encode(prompts)  # a conversation that the chat template refuses is told now, not when it is asked
    encoded = model.encode(train)
    limit, overflow = plan.training.max_seq_length, plan.data.config.overflow
    train_rows = fit(encoded, limit, overflow)
    supervised = sum(row.supervised for row in train_rows)
    result = DataResult(
        train_rows=len(train_rows),
        validation_rows=len(validation),
        prompts=len(prompts or validation),
        formats=dict(Counter(example.format for example in (*train, *validation))),
        tokens=sum(len(row.input_ids) for row in train_rows),
        supervised_tokens=supervised,
        longest=max(len(row.input_ids) for row in train_rows),
        overflow_rows=sum(len(row.input_ids) > limit for row in encoded),
        overflow_supervised_tokens=sum(row.supervised for row in encoded) - supervised,
        fingerprint=fingerprint([*raw.train, *raw.validation, *raw.prompts]),
    )
    validation_rows = fit(model.encode(validation), limit, overflow) if validation else []
    return Data(train_rows, validation_rows, [to_prompt(example) for example in prompts or validation], result)


def to_examples(rows: Sequence[Row], formatter: Formatter) -> list[Example]:
    """Format every row; what is wrong with the rows is told for the first ten of them in one message."""
    examples: list[Example] = []
    problems: list[str] = []
    for row in rows:
        try:
            example = formatter.example(row.fields)
            _check_turns(example.messages)
        except FrameworkError as error:
            problems.append(f"{row.where}: {error}")
        except Exception as error:  # noqa: BLE001 - of a format's own code, which met a row that it did not expect
            problems.append(f"{row.where}: the format cannot read the row: {one_line(error)}{place(error)}")
        else:
            examples.append(dataclasses.replace(example, where=row.where))
    if problems:
        more = f"\nand {len(problems) - SHOWN_ERRORS} more rows" if len(problems) > SHOWN_ERRORS else ""
        raise FrameworkError("\n".join(problems[:SHOWN_ERRORS]) + more)
    return examples


def _check_turns(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role != "assistant":
        last = f"'{messages[-1].role}'" if messages else "no message"
        message = f"a conversation to learn from ends with an assistant's turn, this one with {last}"
        raise FrameworkError(message)
    if next((message.role for message in messages if message.role != "system"), "") == "assistant":
        message = "a conversation begins with a user's turn, this one with the assistant's: nothing would be asked"
        raise FrameworkError(message)
    for turn in messages:
        if not isinstance(turn.content, str):
            message = f"the {turn.role}'s turn is a {type(turn.content).__name__}, no text"
            raise FrameworkError(message)
        try:
            turn.content.encode()
        except UnicodeEncodeError as error:  # JSON may hold half of a surrogate pair, a tokenizer and a file may not
            message = f"the {turn.role}'s turn is no valid text: {error.reason} at character {error.start + 1}"
            raise FrameworkError(message) from error


def split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out `share` of the examples, but one at least and not all, where share is above 0. Both keep the order."""
    held_out = min(max(1, round(share * len(examples))), len(examples) - 1) if share > 0 and examples else 0
    chosen = set(random.Random(seed).sample(range(len(examples)), held_out))  # noqa: S311 - a split, not a secret
    return (
        [example for number, example in enumerate(examples) if number not in chosen],
        [example for number, example in enumerate(examples) if number in chosen],
    )


def fit(rows: Sequence[TokenRow], limit: int, overflow: Overflow) -> list[TokenRow]:
    """Apply `data.overflow` to rows longer than `limit` tokens.

    Raises:
        FrameworkError: `overflow=fail` and a row is too long, or no supervised token is left.
    """
    long = [row for row in rows if len(row.input_ids) > limit]
    longest = max(len(row.input_ids) for row in rows)
    if long and overflow is Overflow.fail:
        message = (
            f"{len(long)} of {len(rows)} rows are longer than trainer.max_seq_length={limit} ({long[0].where} has "
            f"{len(long[0].input_ids)} tokens, the longest {longest}): set trainer.max_seq_length={longest}, or "
            "data.overflow=drop|truncate"
        )
        raise FrameworkError(message)
    if overflow is Overflow.truncate:
        kept = [TokenRow(row.input_ids[:limit], row.labels[:limit], row.where) for row in rows]
    else:
        kept = [row for row in rows if len(row.input_ids) <= limit]
    kept = [row for row in kept if row.supervised]
    if not kept:
        message = (
            f"trainer.max_seq_length={limit} leaves no supervised token: the {len(rows)} rows have "
            f"{min(len(row.input_ids) for row in rows)} to {longest} tokens. Set trainer.max_seq_length={longest}"
        )
        raise FrameworkError(message)
    return kept


def to_prompt(example: Example) -> Prompt:
    """Ask what stands before the last answer, and keep that answer as the reference."""
    return Prompt(example.messages[:-1], example.messages[-1].content)


def fingerprint(rows: Sequence[Row]) -> str:
    """Return a SHA-256 over the rows in their order; where they stand does not count."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(dict(row.fields), sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()
