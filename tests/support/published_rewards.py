"""Reward functions in the shape in which they are published, for rows with `prompt` and `answer`."""

# ruff: noqa: ANN001, ANN003, ANN201, ANN202, ARG001, PLC0207
# They are written as people publish them

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import Any, Dict, List  # noqa: UP035 - as published ones have it


def last_tag(text: str) -> str:
    return text.split("<answer>")[-1].split("</answer>")[0].strip()


def correctness_reward_func(prompts, completions, answer, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    answers = [last_tag(completion[0]["content"]) for completion in completions]
    question = prompts[0][-1]["content"]
    assert question
    return [2.0 if extracted == expected else 0.0 for extracted, expected in zip(answers, answer)]  # noqa: B905 - as it is published


def int_reward_func(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    return [0.5 if last_tag(completion[0]["content"]).isdigit() else 0.0 for completion in completions]


def soft_format_reward_func(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    pattern = r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>"
    return [0.5 if re.match(pattern, completion[0]["content"], re.DOTALL) else 0.0 for completion in completions]


def count_tags(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    contents = [completion[0]["content"] for completion in completions]
    return [0.125 * text.count("<answer>") - (len(text.split("</answer>")[-1])) * 0.001 for text in contents]


async def remote_check(completions: list[str], answer: list[str], trainer_state: Any, **kwargs: Any) -> list[Any]:
    await asyncio.sleep(0)
    return [
        None if expected == "" else float(expected in completion)
        for completion, expected in zip(completions, answer, strict=True)
    ]


def tag_count(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    return [sum(0.25 for tag in tags if completion[0]["content"].count(tag) == 1) for completion in completions]


def by_length(completions: List[Dict[str, str]], answer: List[str], **kwargs) -> float:  # type: ignore[no-untyped-def] # noqa: UP006
    """Its annotations are wrong, as those of a published one are."""
    contents = [completion[0]["content"] for completion in completions]  # type: ignore[index]
    shortest, longest = min(map(len, contents)), max(map(len, contents))
    scaled = [0.5 - (len(text) - shortest) / max(1, longest - shortest) for text in contents]
    pairs = zip(contents, answer, scaled)  # noqa: B905
    return [reward if last_tag(text) == expected else min(0, reward) for text, expected, reward in pairs]  # type: ignore[return-value]


def get_cosine(max_len: int = 100) -> Callable[..., Any]:
    def cosine(completions, answer, **kwargs):  # type: ignore[no-untyped-def]
        rewards = []
        for completion, expected in zip(completions, answer):  # noqa: B905
            progress = min(1.0, len(completion[0]["content"]) / max_len)
            low, high = (0.5, 1.0) if last_tag(completion[0]["content"]) == expected else (-0.5, -1.0)
            rewards.append(low + 0.5 * (high - low) * (1.0 + math.cos(progress * math.pi)))
        return rewards

    return cosine


def by_task(prompts, completions, answer, completion_ids, log_extra=None, log_metric=None, **kwargs):  # type: ignore[no-untyped-def]
    right = [last_tag(completion[-1]["content"]) == expected for completion, expected in zip(completions, answer)]  # noqa: B905
    if log_metric:
        log_metric("right", sum(right) / len(right))
    if log_extra:
        log_extra("said", [completion[-1]["content"] for completion in completions])
    return [float(is_right) if ids else None for is_right, ids in zip(right, completion_ids)]  # noqa: B905
