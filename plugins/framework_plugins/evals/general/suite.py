"""The rows of the general suite, for lm-eval's tasks beside this file and for `evaluator=forgetting`.

lm-eval looks for data files in the working folder. These functions find them beside themselves, so that

    lm_eval --include_path FOLDER_OF_THIS_FILE --tasks general

works from anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

HERE = Path(__file__).parent
SUBJECTS = ("arithmetic", "code", "everyday", "geography", "health", "history", "language", "science")
QUESTIONS = 16
"""Questions of each subject."""


def rows(name: str) -> list[dict[str, Any]]:
    """Read a file of the suite: `instructions`, `texts`, or `questions/SUBJECT`."""
    lines = (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def questions(subject: str, **_: Any) -> dict[str, Dataset]:
    """Give lm-eval the questions of a subject."""
    return _test(f"questions/{subject}")


def instructions(**_: Any) -> dict[str, Dataset]:
    """Give lm-eval the instructions with an answer to each."""
    return _test("instructions")


def texts(**_: Any) -> dict[str, Dataset]:
    """Give lm-eval the texts."""
    return _test("texts")


def _test(name: str) -> dict[str, Dataset]:
    from datasets import Dataset  # noqa: PLC0415 - for lm-eval only

    return {"test": Dataset.from_list(rows(name))}


def answer_score(row: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, tuple[float, int]]:
    """Return the log-likelihood of the answer to an instruction with its number of words."""
    (likelihood, _), *_ = results
    return {"word_perplexity": (likelihood, len(row["answer"].split()))}
