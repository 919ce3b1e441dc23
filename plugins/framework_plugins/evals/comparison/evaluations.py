"""An evaluation of any origin: scores of items by measure, what the items are, and the figure that its tool prints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import Measure, MeasureKind, display_path, short_repr, summarize_error

LONGEST_LINE = 1 << 26
"""Bytes of a line, 64 MiB: only a line at a time is in memory."""
MOST_TEXT = 50_000_000
"""Characters of items that are kept to find items that are not independent."""
SHOWN_CHARACTERS = 60
LARGEST = 1e100
"""The largest score: squares of differences have to be numbers."""
HIGHER = {
    "acc", "acc_norm", "acc_mutual_info", "accuracy", "balanced_accuracy", "bleu", "bleurt", "chrf", "correct", "em",
    "exact_match", "f1", "inst_level_strict_acc", "mcc", "mean_reciprocal_rank", "meteor", "mrr", "ndcg", "pass_rate",
    "pass@1", "precision", "prompt_level_strict_acc", "recall", "reward", "rouge1", "rouge2", "rougeL", "rougeLsum",
    "score", "token_f1", "win_rate", "wins",
}  # fmt: skip
"""Metrics of which a higher value is better."""
LOWER = {
    "bits_per_byte", "brier_score", "byte_perplexity", "cer", "cross_entropy", "ece", "error", "error_rate",
    "eval_loss", "hallucination_rate", "latency", "loss", "mae", "mse", "nll", "perplexity", "ppl", "rmse", "ter",
    "toxicity", "wer", "word_perplexity",
}  # fmt: skip
"""Metrics of which a lower value is better."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item: a hash of its content, empty if it is unknown, and the cluster of dependent items.

    `text` is empty if the evaluation does not say it, or if there is too much text to keep.
    """

    content: str = ""
    text: str = ""
    reference: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Scores:
    """One measure: the name of each item, in the order of `measure.items`, and the figure that the tool prints.

    `higher_is_better` is None if nothing says which direction is better. `part_of` is a group of tasks with the same
    measure over these items and more; empty if there is none. `error` is the standard error that the tool prints.
    """

    measure: Measure
    keys: Sequence[str]
    higher_is_better: bool | None
    printed: str = ""
    error: float | None = None
    part_of: str = ""
    candidates: int = 1


@dataclass
class Evaluation:
    """An evaluation of one system.

    Attributes:
        place: the path that the user gave.
        tool: which program made it.
        items: by name.
        measures: by name.
        versions: of tasks and the like; others make figures that cannot be compared.
        notes: the measures that are not compared, with the reason.
        clustered: whether the measures know which of their items are dependent.
    """

    place: str
    tool: str
    items: dict[str, Item] = field(default_factory=dict)
    measures: dict[str, Scores] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    clustered: bool = False


@dataclass
class Texts:
    """Counts the text that is kept: of items beyond the limit there is none."""

    left: int = MOST_TEXT

    def kept(self, text: str) -> str:
        """Return a text if there is room for it."""
        self.left -= len(text)
        return text if self.left >= 0 else ""


def direction(metric: str) -> bool | None:
    """Return whether a higher value of a metric is better, None if that is not known."""
    name = metric.rpartition(".")[2]
    return True if name in HIGHER else False if name in LOWER else None


def measured(values: Sequence[float | None], *, higher_is_better: bool | None) -> Measure:
    """Make a measure of scores; those between 0 and 1 are shares, and any others may be of any size."""
    scores = [value for value in values if value is not None]
    share = all(0 <= value <= 1 for value in scores) if higher_is_better else {*scores} <= {0.0, 1.0}
    return Measure(
        sum(scores) / len(scores) if scores else math.nan,
        list(values),
        higher_is_better=bool(higher_is_better),
        kind=MeasureKind.content if share else MeasureKind.loss,
        item="item",
    )


def figure(value: float, error: float | None, digits: int = 4) -> str:
    """Write a mean and its standard error as the tools do."""
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def own_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean, None of a single value."""
    size = len(values)
    if size < 2:  # noqa: PLR2004 - a variance takes two
        return None
    middle = sum(values) / size
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (size - 1) / size)


def content(*parts: Any) -> str:
    """Return a short hash of values as JSON has them."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).hexdigest()


@contextmanager
def refusing_other_shapes(file: Path, description: str) -> Iterator[None]:
    """Refuse a file in which a value has another type than its tool writes.

    Raises:
        FrameworkError: that happens while the file is read within the context.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise FrameworkError(
            f"{display_path(file)} does not have the form of {description} ({summarize_error(error)}): was it edited?"
        ) from error


def readable(text: str) -> str:
    """Return a text with its half surrogate pairs, which JSON allows, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def texts_in(value: Any) -> Iterator[str]:
    """Give all texts in a value, in order."""
    if isinstance(value, str):
        yield readable(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts_in(part)


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the objects of a JSONL file with the numbers of their lines, one in memory at a time.

    Raises:
        FrameworkError: the file cannot be read, or a line of it is not an object, or is too long.
    """
    path = display_path(file)
    try:
        with file.open("rb") as lines:
            line_number = 0
            while line := lines.readline(LONGEST_LINE + 1):
                line_number += 1
                if len(line) > LONGEST_LINE:
                    raise FrameworkError(
                        f"{path}:{line_number}: the line has more than {LONGEST_LINE >> 20} MiB. A JSONL file has one "
                        "item a line: was the file cut, or is it another one?"
                    )
                if line.strip():
                    yield line_number, _object(line, f"{path}:{line_number}")
    except OSError as error:
        raise FrameworkError(f"{path} cannot be read: {error.strerror}") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FrameworkError(f"{where}: not valid JSON ({error}). Was the file copied in part?") from error
    if not isinstance(value, dict):
        raise FrameworkError(f"{where}: an object is expected, one item a line, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def cluster_of(values: Mapping[str, Any], name: str, where: str) -> str:
    """Return the value of the field that `--cluster` names; empty if it names none.

    Raises:
        FrameworkError: the item has no such field.
    """
    if not name:
        return ""
    if values.get(name) is None:
        field_names = ", ".join(sorted(values)[:12]) or "none"
        raise FrameworkError(
            f"{where}: the item has no field '{name}', which --cluster names. Its fields: {field_names}"
        )
    return str(values[name])


def twice(where: str, subject: str, location: str = "") -> FrameworkError:
    """Refuse an item that is there two times."""
    again = f", first in {location}" if location else ""
    return FrameworkError(
        f"{where}: {subject} is there twice{again}. Each item may have one score: was the log written two times?"
    )


def number_of(value: Any, where: str = "") -> float | None:
    """Return a score as a number; None for null and NaN.

    Raises:
        FrameworkError: it is infinite, or so large that no mean of such scores is a number.
    """
    if not isinstance(value, bool | int | float):
        return None
    if value != value:  # noqa: PLR0124 - NaN
        return None
    if not -LARGEST <= value <= LARGEST:
        shown = short_repr(value)
        location = where or "a score"
        raise FrameworkError(f"{location}: {shown} is too large for a score: the largest is {LARGEST:g}")
    return float(value)
