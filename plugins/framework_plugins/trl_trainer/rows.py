"""The rows of a run as a data set of TRL: tokens where TRL reads them, conversations where it writes them itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset

from framework import FrameworkError
from framework.api import Prompt
from framework.api.training import Role, TokenGroup, TokenRow
from framework_plugins.lib.turns import as_turns

LABEL = "desirable"
"""The fact of a row of `method=kto`."""


def token_rows(rows: Sequence[TokenGroup]) -> Dataset:
    """Return rows for SFTTrainer, which reads ids and labels as they are."""
    return _dataset({"input_ids": group.answer.input_ids, "labels": group.answer.labels} for group in rows)


def pairs(rows: Sequence[TokenGroup]) -> Dataset:
    """Return pairs as DPOTrainer has them after its own tokenization.

    Raises:
        FrameworkError: TRL cannot say what of a row is learned.
    """

    def pair(group: TokenGroup) -> dict[str, Any]:
        chosen, rejected = (group.rows[group.roles.index(role)] for role in (Role.answer, Role.rejected))
        (prompt, chosen_ids), (other, rejected_ids) = cut(chosen), cut(rejected)
        if prompt != other:
            raise FrameworkError(
                f"{group.where}: the answers of a pair follow different tokens, which DPOTrainer cannot read"
            )
        return {"prompt_ids": prompt, "chosen_ids": chosen_ids, "rejected_ids": rejected_ids}

    return _dataset(map(pair, rows))


def scored(rows: Sequence[TokenGroup]) -> Dataset:
    """Return pairs as RewardTrainer has them after its own tokenization: both conversations to their end."""
    return _dataset(
        {
            "chosen_ids": group.rows[group.roles.index(Role.answer)].input_ids,
            "rejected_ids": group.rows[group.roles.index(Role.rejected)].input_ids,
        }
        for group in rows
    )


def labelled(rows: Sequence[TokenGroup]) -> Dataset:
    """Return answers with a label as KTOTrainer has them after its own tokenization."""
    parts = ((cut(group.rows[0]), group.facts[LABEL] > 0) for group in rows)
    return _dataset({"prompt_ids": ids[0], "completion_ids": ids[1], "label": label} for ids, label in parts)


def questions(prompts: Sequence[Prompt]) -> Dataset:
    """Return prompts, to which TRL draws the answers; `row` says which it is."""
    return _dataset({"prompt": _turns(prompt), "row": index} for index, prompt in enumerate(prompts))


def conversations(prompts: Sequence[Prompt]) -> Dataset:
    """Return conversations, which TRL writes with the chat template."""
    return _dataset({"messages": [*_turns(prompt), _answer(prompt)]} for prompt in prompts)


def answered(prompts: Sequence[Prompt]) -> Dataset:
    """Return questions and their answers, which TRL writes with the chat template."""
    return _dataset({"prompt": _turns(prompt), "completion": [_answer(prompt)]} for prompt in prompts)


def _answer(prompt: Prompt) -> dict[str, Any]:
    return {"role": "assistant", "content": prompt.reference or ""}


def _dataset(rows: Iterator[dict[str, Any]]) -> Dataset:
    return Dataset.from_list([*rows])


def _turns(prompt: Prompt) -> list[dict[str, Any]]:
    if prompt.tools:
        raise FrameworkError(f"{prompt.where}: trainer=trl gives TRL no tools: set trainer=hf")
    return as_turns(prompt.messages)


def cut(row: TokenRow) -> tuple[list[int], list[int]]:
    """Return the tokens before the learned ones, and these; what follows them changes nothing.

    Raises:
        FrameworkError: there are others between them.
    """
    learned = [index for index, label in enumerate(row.labels) if label != TokenRow.IGNORE]
    begin, end = learned[0], learned[-1] + 1
    if end - begin != len(learned):
        raise FrameworkError(
            f"{row.where}: TRL learns one answer of a conversation here, and data.learn chooses several: set "
            "data.learn=last, or trainer=hf"
        )
    return row.input_ids[:begin], row.input_ids[begin:end]
