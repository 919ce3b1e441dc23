"""Preference pairs by other names: a label, a rank or a score says which of the answers is better.

    as_pair({"prompt": "say", "response_0": "it", "response_1": "no", "better_response_id": 0})

is `{"prompt": "say", "chosen": "it", "rejected": "no"}`, with no facts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework import FrameworkError
from framework_plugins.formats.formats.names import RANKED_FIELDS, SHARED_FIELDS
from framework_plugins.formats.formats.values import SKIP, Fields, is_object, is_pair, json_type, short_repr

ANSWER_KEYS = ("answer", "response", "completion", "output", "text", "content")
RANKS = {"rank": 1, "overall_score": -1, "pm_score": -1, "score": -1}
"""What says of an answer in a list how good it is, and whether the best one has the least or the most of it."""
TWO = 2
Pair = tuple[Fields, Mapping[str, float]]
"""A row by the names of `format=preference`, and its facts."""


@dataclass(frozen=True)
class LabelledPair:
    """Two answers in fields of their own.

    Attributes:
        answers: the two fields.
        question: the field of the question; empty if the answers hold it.
        judges: the fields that say which is better: by the value as text, the place of the better one.
    """

    answers: tuple[str, str]
    question: str
    judges: Mapping[str, Mapping[str, int]]


_BY_NUMBER = {"0": 0, "1": 1}
JUDGED = (
    LabelledPair(
        ("response_0", "response_1"), "prompt", dict.fromkeys(("better_response_id", "safer_response_id"), _BY_NUMBER)
    ),
    LabelledPair(
        ("response1", "response2"),
        "context",
        {"overall_preference": {str(number): int(number > 0) for number in (-3, -2, -1, 1, 2, 3)}},
    ),
    LabelledPair(("human_ref_A", "human_ref_B"), "history", {"labels": {"1": 0, "0": 1}}),
    LabelledPair(("conversation_a", "conversation_b"), "", {"winner": {"model_a": 0, "model_b": 1}}),
)
"""PKU-SafeRLHF, HelpSteer3, SHP and the Chatbot Arena."""


def has_pair(fields: Fields) -> bool:
    """Whether a row is a preference pair in any spelling."""
    return is_pair(fields) or _is_openai(fields) or _find_pair(fields) is not None or _rank_field(fields) is not None


def as_pair(fields: Fields) -> Pair:
    """Return a pair with the field names of `format=preference`; any other row unchanged.

    Raises:
        FrameworkError: no answer is better than another, or two fields disagree on it.
    """
    if is_pair(fields):
        return fields, {}
    shared = {name: fields[name] for name in SHARED_FIELDS if fields.get(name) is not None}
    if _is_openai(fields):
        request = fields["input"]
        pair = {"chosen": fields["preferred_output"], "rejected": fields["non_preferred_output"]}
        tools = {"tools": request["tools"]} if request.get("tools") else {}
        return {**shared, "prompt": request["messages"], **pair, **tools}, {}
    if (judged := _find_pair(fields)) is not None:
        question = {"prompt": fields.get(judged.question)} if judged.question else {}
        better = _better_index(fields, judged)
        chosen_field, rejected_field = judged.answers if better == 0 else judged.answers[::-1]
        return {**shared, **question, "chosen": fields[chosen_field], "rejected": fields[rejected_field]}, {}
    if (name := _rank_field(fields)) is not None:
        chosen, rejected, facts = _best_and_worst(fields[name], name)
        question = {
            key: fields[key] for key in ("prompt", "instruction", "question", "query", "input") if key in fields
        }
        return {**shared, **question, "chosen": chosen, "rejected": rejected}, facts
    return fields, {}


def _is_openai(fields: Fields) -> bool:
    """Whether a row has OpenAI's form for preference fine-tuning."""
    request = fields.get("input")
    answers = fields.get("preferred_output"), fields.get("non_preferred_output")
    return isinstance(request, Mapping) and "messages" in request and all(answers)


def _find_pair(fields: Fields) -> LabelledPair | None:
    for judged in JUDGED:
        if all(fields.get(name) is not None for name in judged.answers) and any(
            fields.get(name) is not None for name in judged.judges
        ):
            return judged
    return None


def _better_index(fields: Fields, judged: LabelledPair) -> int:
    """Return the place of the better answer."""
    verdicts: dict[str, int] = {}
    for name, choices in judged.judges.items():
        if (value := fields.get(name)) is None:
            continue
        index = choices.get(str(value).strip().lower().removesuffix(".0"))
        if index is None:
            raise FrameworkError(
                f"has {short_repr(value)} in '{name}', which calls neither answer the better one "
                f"(valid: {', '.join(choices)}): {SKIP}"
            )
        verdicts[name] = index
    if len({*verdicts.values()}) > 1:
        left, right = verdicts
        raise FrameworkError(
            f"has two labels that disagree, '{left}' is {fields[left]} and '{right}' is {fields[right]}: say which "
            f'decides, "format.columns={{{right}: null}}" or "format.columns={{{left}: null}}"'
        )
    return next(iter(verdicts.values()))


def _rank_field(fields: Fields) -> str | None:
    """Return the field with a list of answers that have ranks or scores; None if there is none."""
    return next((name for name in RANKED_FIELDS if _key_of_rank(fields.get(name)) is not None), None)


def _key_of_rank(answers: object) -> str | None:
    if not isinstance(answers, list) or not answers or not all(map(is_object, answers)):
        return None
    if not any(key in answers[0] for key in ANSWER_KEYS):
        return None
    return next((key for key in RANKS if all(key in answer for answer in answers)), None)


def _best_and_worst(answers: Sequence[Fields], name: str) -> tuple[Any, Any, Mapping[str, float]]:
    """Return the best answer, the worst, and the facts `answers` and `tied` if there are more than two.

    Of answers that tie, the first is taken.
    """
    key = _key_of_rank(answers) or ""
    try:
        ranks = [RANKS[key] * float(answer[key]) for answer in answers]
    except (TypeError, ValueError) as error:
        raise FrameworkError(f"needs numbers in '{key}' of '{name}'") from error
    if any(map(math.isnan, ranks)):
        raise FrameworkError(f"needs numbers in '{key}' of '{name}', found NaN: {SKIP}")
    low, high = min(ranks), max(ranks)
    if not low < high:
        raise FrameworkError(
            f"needs two answers of different {key} in '{name}', and {'it has one' if len(ranks) == 1 else 'all tie'}: "
            f"{SKIP}"
        )
    chosen, rejected = (_text(answers[ranks.index(rank)], name) for rank in (low, high))
    tied = ranks.count(low) + ranks.count(high) - TWO
    return chosen, rejected, {"answers": float(len(ranks)), "tied": float(tied)} if len(ranks) > TWO else {}


def _text(answer: Fields, name: str) -> Any:
    value = next((answer[key] for key in ANSWER_KEYS if key in answer), None)
    if not isinstance(value, str | list):
        raise FrameworkError(f"needs the text of each answer in '{name}', found {json_type(value)}")
    return value
