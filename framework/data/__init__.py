"""The data stage: rows of the source -> conversations -> token rows, split and checked before any weight is loaded.

`load_data` reads, formats, tokenizes and proves every row once and keeps the result on disk (`store.py`); the split,
the lengths and the audit are worked out from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework.api.plan import Plan, Selection
    from framework.protocols import Model
    from framework.records import DataResult, Prompt, TokenRow


@dataclass(frozen=True)
class Data:
    """What training and evaluation work on. The rows are read from disk as they are asked for.

    `result` is the part that is saved. `prompts` are the source's own in their order, or else the validation rows in an
    order of which every beginning is spread over all of them. `format` is the run's, for rows that an evaluator reads.
    `store` is where the tokenized rows lie, for other processes that train on them.
    """

    train: Sequence[TokenRow]
    validation: Sequence[TokenRow]
    prompts: Sequence[Prompt]
    result: DataResult
    format: Selection | None = None
    store: Path | None = None


def load_data(plan: Plan, model: Model) -> Data:
    """Read, format, tokenize, prove, split and audit.

    Raises:
        FrameworkError: no rows, rows that cannot be read or do not fit the format, a proof that fails, a finding that
            is fatal, or nothing left to learn; names the rows.
    """
    from framework.data.stage import prepare_data  # noqa: PLC0415 - numpy and Arrow, which --help need not load

    return prepare_data(plan, model)


def check_sources(plan: Plan) -> None:
    """Ask the sources that can tell whether their rows are there, before a library for models is imported.

    Raises:
        FrameworkError: those of one are not.
    """
    from framework.data import mix  # noqa: PLC0415 - as above

    for choice in (plan.data, *(part.source for part in mix.parts(plan.data.config.mix, plan.format))):
        check: Callable[[], None] | None = getattr(choice.create(), "check", None)
        if check is not None:
            check()
