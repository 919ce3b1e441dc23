"""Human-readable results of a run. Every logger renders these facts in its own format."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.api.records import DataResult, FormatRun, MixedIn, Proof

__all__ = ["Fact", "count", "facts_of", "is_share", "number", "visible"]

ONE_DIGIT_FROM = 100
"""From this value on, one digit after the decimal point is enough."""
SHOWN_EXAMPLES = 3
"""Examples of a fact."""
SHOWN_RUNS = 6
"""Ranges of rows of one format."""
PROBLEM_CHARACTERS = 120
"""Characters of the problem of a bad row; `data.json` has all of it."""
FIELDS_CHARACTERS = 80
"""Characters of a list of fields."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\u202a-\u202e\u2066-\u2069\u2028\u2029]")
"""Control characters, and those that change the direction of writing: a terminal or a browser would obey them."""


@dataclass(frozen=True)
class Fact:
    """A fact: a label, a sentence, and lines of detail. `amiss` marks a problem, `short` is for little room."""

    name: str
    text: str
    more: tuple[str, ...] = ()
    amiss: bool = False
    short: str = ""


@functools.singledispatch
def facts_of(record: Any) -> Iterator[Fact]:
    """Say what a record holds: a `DataResult`, a `Forecast` or a `Sweep`; what did not occur is left out."""
    raise TypeError(f"no facts of a {type(record).__name__}")


@facts_of.register
def _data(data: DataResult) -> Iterator[Fact]:
    """Say what the data stage found, without the findings of the audit; what did not occur is left out."""
    prompts = f", {data.prompts:,} {_plural(data.prompts, 'prompt')}"
    cached = "; from the cache" if data.cached else ""
    trained = count(data.train_rows, "block") if data.block_tokens else f"{data.train_rows:,}"
    yield Fact("rows", f"{trained} to train, {data.validation_rows:,} held out{prompts}{cached}")
    yield _format(data)
    if data.decides:
        yield Fact("decides", f"{data.decides}: {data.decides_why}")
    if data.notes:
        yield Fact("files", data.notes[0], tuple(data.notes[1:]), amiss=True)
    if data.unread_fields:
        yield Fact("not read", _unread_fields(data.unread_fields))
    if data.rejected_answers:
        answers = f"the rejected {_plural(data.rejected_answers, 'answer')} of {count(data.rejected_answers, 'row')}"
        yield Fact("preference", f"{answers} left out: method=sft learns the chosen ones, method=dpo both")
    if data.cut_texts:
        by = "" if data.block_tokens else " (data.cut)"
        yield Fact("cut", f"{count(data.cut_texts, 'plain text')} into {count(data.cut_rows, 'row')}{by}")
    if data.block_tokens:
        filled = data.tokens / (data.train_rows * data.block_tokens)
        texts, blocks = count(data.block_rows, "plain text"), count(data.train_rows, "block")
        yield Fact("blocks", f"{texts} in {blocks} of {data.block_tokens:,} tokens, {filled:.1%} full")
    elif data.proof.rows and data.proof.plain == data.proof.rows:
        advice = "method=pretrain lays several into one block, and judges by their perplexity"
        yield Fact("plain text", f"each text is a row of its own; {advice}")
    if data.conversations:
        summary = (
            f"{count(data.conversations, 'conversation')} into {count(data.conversation_rows, 'row')}, one for each"
        )
        yield Fact("answers", f"{summary} answer (data.learn=each)")
    if data.mixed:
        parts = ", ".join(_mixed_in(part, data.block_rows or data.train_rows) for part in data.mixed)
        yield Fact("mixed in", parts, amiss=any(part.rows < part.requested for part in data.mixed))
    if data.bad_rows:
        lines = [
            visible(line if len(line) <= PROBLEM_CHARACTERS else f"{line[:PROBLEM_CHARACTERS]}…", "⏎")
            for line in data.bad_examples
        ]
        examples = _examples(lines, data.bad_rows)
        yield Fact("bad rows", f"{count(data.bad_rows, 'row')} left out (data.on_bad_row=skip)", examples, amiss=True)
    learned = share(data.supervised_tokens, data.tokens)
    yield Fact("tokens", f"{data.tokens:,}, of which {data.supervised_tokens:,} ({learned}) are learned")
    yield _proof(data.proof)
    sizes = data.lengths
    yield Fact(
        "lengths",
        f"half of the rows up to {sizes.p50:,} tokens, 95% up to {sizes.p95:,}, 99% up to {sizes.p99:,}, the longest "
        f"{sizes.longest:,}; padded, {sizes.padding_share:.0%} of a batch is padding",
    )
    yield from _limit(data)


def _format(data: DataResult) -> Fact:
    runs = data.format_runs
    if len(data.formats) == 1 and runs:
        return Fact("format", f"{runs[0].format}: {count(sum(data.formats.values()), 'row')} with {_all_fields(runs)}")
    totals = ", ".join(f"{name}: {count(rows, 'row')}" for name, rows in data.formats.items())
    shown = [f"{_row_range(run)}: {run.format}, {_fields(run.fields)}" for run in runs[:SHOWN_RUNS]]
    hidden = sum(data.formats.values()) - sum(run.rows for run in runs[:SHOWN_RUNS])
    tail = [f"and {count(hidden, 'more row')}"] if hidden else []
    return Fact("format", totals or "none", (*shown, *tail), amiss=len(data.formats) > 1)


def _unread_fields(fields: Mapping[str, int]) -> str:
    """Name the fields that nothing reads, grouped by the number of rows that have them: `id, lang in 20 rows`."""
    rows_by_names: dict[int, list[str]] = {}
    for name, rows in sorted(fields.items(), key=lambda item: -item[1]):
        rows_by_names.setdefault(rows, []).append(name)
    parts = [f"{_cut(', '.join(names))} in {count(rows, 'row')}" for rows, names in rows_by_names.items()]
    tail = f"; and {count(len(parts) - SHOWN_EXAMPLES, 'more group')}" if len(parts) > SHOWN_EXAMPLES else ""
    return "; ".join(parts[:SHOWN_EXAMPLES]) + tail


def _all_fields(runs: Sequence[FormatRun]) -> str:
    """Name the fields that all rows have, and those that some have."""
    field_lists = [run.fields.split(", ") for run in runs]
    names = list(dict.fromkeys(name for fields in field_lists for name in fields))
    common_names = [name for name in names if all(name in fields for fields in field_lists)]
    optional_names = [name for name in names if name not in common_names]
    return _fields(", ".join(common_names)) + (
        f"; some also {_cut(', '.join(optional_names))}" if optional_names else ""
    )


def _fields(fields: str) -> str:
    return f"{'the fields' if ',' in fields else 'the field'} {_cut(fields)}" if fields else "no field in common"


def _cut(fields: str) -> str:
    return visible(fields if len(fields) <= FIELDS_CHARACTERS else f"{fields[:FIELDS_CHARACTERS].rstrip(', ')}…", "⏎")


def _row_range(run: FormatRun) -> str:
    """Name the rows of a run, `orders.jsonl:1 … 20`."""
    if run.first == run.last:
        return run.first
    (first_file, _, _), (last_file, _, last_line) = run.first.rpartition(":"), run.last.rpartition(":")
    return f"{run.first} … {last_line if first_file == last_file else run.last}"


def _proof(proof: Proof) -> Fact:
    if proof.failed:
        examples = [
            f"{visible(problem.examples[0], '⏎')}: {visible(problem.problem, '⏎')}"
            + (f" (the same in {problem.rows:,} rows)" if problem.rows > 1 else "")
            for problem in proof.problems
        ]
        text = f"{proof.failed:,} of {count(proof.rows, 'row')} not proven (data.proof=warn)"
        return Fact("proof", text, _examples(examples, len(examples)), amiss=True)
    if proof.plain == proof.rows:
        start = "its first token" if proof.lowest_share == 1 else "the token after its BOS token"
        return Fact("proof", f"every row ({proof.rows:,}) is plain text, learned from {start} to its last token")
    unit, tails = "row", list[str]()
    if proof.plain:
        verb = "is" if proof.plain == 1 else "are"
        unit, tails = "conversation", [f"{count(proof.plain, 'more row')} {verb} plain text, learned as a whole"]
    conversations = proof.rows - proof.plain - proof.prompts
    if proof.prompts:
        are, them = ("is a prompt", "it") if proof.prompts == 1 else ("are prompts", "them")
        tails.append(f"{count(proof.prompts, 'row')} {are} as inference renders {them}")
        if not conversations:
            return Fact("proof", "; ".join(tails))
    tail = "".join(f"; {text}" for text in tails)
    lowest, mean = f"{proof.lowest_share:.0%}", f"{proof.mean_share:.0%}"
    learned = f"{mean} of each {unit} is learned" if lowest == mean else f"on average, {mean} of a {unit} is learned"
    if proof.whole:
        text = f"the last answer of every conversation ({conversations:,}) begins after the prompt as "
        text += "inference renders it and ends with a stop token; all turns are learned, questions too"
        return Fact("proof", f"{text} (data.learn=everything){tail}")
    text = f"every {unit} ({conversations:,}) begins with the prompt as inference renders it, every answer "
    text += f"({proof.turns:,}) ends with a stop token that is learned"
    return Fact("proof", f"{text}; {learned}{tail}", short="" if lowest == mean else text)


def _limit(data: DataResult) -> Iterator[Fact]:
    """Say what `trainer.max_seq_length` costs, or that it is more than these rows need."""
    sizes = data.lengths
    if data.overflow_rows or data.overflow_validation_rows:
        fit = "all rows" if sizes.suggested >= sizes.longest else "99% of the rows"
        better = sizes.suggested > sizes.max_seq_length
        yield Fact(
            "too long",
            f"{count(data.overflow_rows, 'row')} longer than trainer.max_seq_length={sizes.max_seq_length}, "
            f"{data.overflow_rows_left_out:,} of them left out; {data.overflow_supervised_tokens:,} learned tokens are "
            f"lost{_held_out(data)}",
            (f"trainer.max_seq_length={sizes.suggested} would fit {fit}",) if better else (),
            amiss=True,
        )
    elif sizes.suggested * 2 <= sizes.max_seq_length:
        yield Fact(
            "limit", f"trainer.max_seq_length={sizes.max_seq_length} fits every row; {sizes.suggested} would too"
        )


def _held_out(data: DataResult) -> str:
    too_long = data.overflow_validation_rows
    return f"; {count(too_long, 'validation row')} too long as well" if too_long else ""


def _mixed_in(part: MixedIn, rows: int) -> str:
    shortfall = f" ({part.requested:,} were requested)" if part.rows < part.requested else ""
    return f"{part.rows:,} of {part.name}{shortfall}, {share(part.rows, rows)} of the training rows"


def _examples(lines: Sequence[str], total: int) -> tuple[str, ...]:
    hidden = total - min(len(lines), SHOWN_EXAMPLES)
    return (*lines[:SHOWN_EXAMPLES], *([f"and {hidden:,} more"] if hidden else []))


def share(part: int, whole: int) -> str:
    """Write a part of a whole as a percentage."""
    return f"{part / whole:.0%}" if whole else "0%"


def count(number: float, noun: str) -> str:
    """Write how many: `1 row`, `1,200 rows`, `0.58 epochs`."""
    return f"{f'{number:,}' if isinstance(number, int) else f'{number:.4g}'} {_plural(number, noun)}"


def _plural(quantity: float, noun: str) -> str:
    return noun if quantity == 1 else f"{noun}s"


def visible(text: str, newline: str = "⏎\n") -> str:
    """Return a text of the data for display: line breaks as `newline`, control characters spelled out."""
    text = text.replace("\r\n", "\\r\n")
    text = _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return text.replace("\t", "⇥").replace("\n", newline)


def number(value: float | None, name: str, unit: str = "") -> str:
    """Write a share as a percentage and anything else with digits; `-` if there is none."""
    if value is None:
        return "-"
    if is_share(value, name, unit):
        return f"{value:.0%}"
    return f"{value + 0.0:.4f}" if abs(value) < ONE_DIGIT_FROM else f"{value:.1f}"  # + 0.0: never -0.0000


def is_share(value: float, name: str, unit: str) -> bool:
    """Whether a number is shown in percent: one between 0 and 1 that is not a loss and has no unit."""
    return not unit and not name.endswith("loss") and 0 <= value <= 1
