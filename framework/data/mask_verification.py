"""The proof that training teaches what inference will do, gathered over all rows, before any weight is loaded.

The backend proves each row while it encodes it (`TokenRow.problem`): the prompt that inference renders is the beginning
of the row, what is learned begins there and ends with a stop token, and no message is lost. Here the rows are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from framework.api.audit import RowPart
from framework.api.records import Proof, ProofProblem
from framework.api.schema import Learn
from framework.data.store import Store
from framework.util.errors import FrameworkError

SHOWN_ROWS = 10


def prove(store: Store, learn: Learn) -> Proof:
    """Return the proof of all rows for training and validation, and of prompts that the template refuses."""
    columns = store.columns
    # The answers of prompts are references, not learned.
    counted = (columns.part != RowPart.prompts) | (columns.tokens == 0)
    failed, talks = counted & ~columns.proven, counted & ~columns.plain
    # A row that the template refuses has no tokens.
    measured = next((rows for rows in (talks & ~columns.asks, counted & ~columns.asks) if rows.any()), counted)
    share = (columns.supervised / np.maximum(store.total_tokens(), 1))[measured]
    return Proof(
        rows=int(counted.sum()),
        failed=int(failed.sum()),
        turns=int(columns.turns[talks].sum()),
        lowest_share=round(float(share.min()), 6),
        mean_share=round(float(share.mean()), 6),
        problems=sorted(_problems(store, failed), key=lambda problem: -problem.rows),
        plain=int((counted & columns.plain).sum()),
        prompts=int((counted & columns.asks).sum()),
        whole=learn is Learn.everything,
    )


def _problems(store: Store, failed: NDArray[np.bool_]) -> Iterator[ProofProblem]:
    """Return the problems, rows with the same one together; texts are read only if there are any."""
    rows_by_problem: dict[str, list[int]] = {}
    # The texts are as large as the data.
    for texts in store.texts() if failed.any() else ():
        for row, problem in enumerate(texts.problem, start=texts.start):
            if failed[row]:
                rows_by_problem.setdefault(problem, []).append(row)
    for problem, rows in rows_by_problem.items():
        yield ProofProblem(problem, len(rows), [store.where(row) for row in rows[:SHOWN_ROWS]])


def refusal(proof: Proof) -> FrameworkError:
    """Return the error that tells why rows are not proven, the first rows by name."""
    lines = [
        f"{problem.examples[0]}: {problem.problem}{f' (the same in {problem.rows} rows)' if problem.rows > 1 else ''}"
        for problem in proof.problems[:SHOWN_ROWS]
    ]
    remaining = proof.failed - sum(problem.rows for problem in proof.problems[:SHOWN_ROWS])
    lines += [f"and {remaining} more rows"] if remaining else []
    usable = "To train on the valid part of such rows, set data.proof=warn"
    return FrameworkError(
        "\n".join([*lines, f"the loss mask of {proof.failed} of {proof.rows} rows is not proven. {usable}"])
    )


def usable(store: Store) -> NDArray[np.bool_]:
    """Return which rows have learned tokens, proven or not, or are prompts."""
    columns = store.columns
    return (columns.supervised > 0) | (columns.asks & (columns.tokens > 0))
