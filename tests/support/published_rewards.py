"""Reward functions in the shape in which they are published, for rows with `prompt` and `answer`."""

# ruff: noqa: ANN001, ANN003, ARG001, PLC0207
# They are written as people publish them

from __future__ import annotations

import asyncio
import re
from typing import Any


def last_tag(text: str) -> str:
    return text.split("<answer>")[-1].split("</answer>")[0].strip()


def correctness_reward_func(prompts, completions, answer, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    said = [last_tag(completion[0]["content"]) for completion in completions]
    question = prompts[0][-1]["content"]
    assert question
    return [2.0 if one == wanted else 0.0 for one, wanted in zip(said, answer)]  # noqa: B905 - as it is published


def int_reward_func(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    return [0.5 if last_tag(completion[0]["content"]).isdigit() else 0.0 for completion in completions]


def soft_format_reward_func(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    pattern = r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>"
    return [0.5 if re.match(pattern, one[0]["content"], re.DOTALL) else 0.0 for one in completions]


def count_tags(completions, **kwargs) -> list[float]:  # type: ignore[no-untyped-def]
    contents = [completion[0]["content"] for completion in completions]
    return [0.125 * text.count("<answer>") - (len(text.split("</answer>")[-1])) * 0.001 for text in contents]


async def remote_check(completions: list[str], answer: list[str], trainer_state: Any, **kwargs: Any) -> list[Any]:
    await asyncio.sleep(0)
    return [None if wanted == "" else float(wanted in one) for one, wanted in zip(completions, answer, strict=True)]
