"""The prompt of a judge, and the grade in its reply."""

from __future__ import annotations

import re
from collections.abc import Iterator

from framework.api import Answered, Message, unknown
from framework_plugins.evals.config import JudgeConfig

PLACEHOLDERS = ("question", "answer", "reference", "lowest", "highest")
PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
PROMPT = """\
Grade the answer that an assistant gave.

### Question
{question}

### Answer
{answer}

How correct, complete and to the point is the answer? {highest} is best, {lowest} is worst.
Reply with one number from {lowest} to {highest} and nothing else."""
PROMPT_WITH_REFERENCE = PROMPT.replace("### Answer\n", "### Reference, a good answer\n{reference}\n\n### Answer\n")
PAIR_PROMPT = """\
Two assistants answered the same question.

### Question
{question}

### Answer A
{first}

### Answer B
{second}

Which answer is more correct, complete and to the point? Neither its place nor its length counts.
Reply with one letter and nothing else: A, B, or T for a tie."""
PAIR_PROMPT_WITH_REFERENCE = PAIR_PROMPT.replace(
    "### Answer A\n", "### Reference, a good answer\n{reference}\n\n### Answer A\n"
)
NUMBER = re.compile(r"(?<![\w.,])[-+]?\d+(?:\.\d+)?(?!\w|[.,]\d)")


def problems(prompt: str) -> Iterator[str]:
    """Say what is wrong with a prompt of the user's own."""
    names = PLACEHOLDER.findall(prompt)
    for name in dict.fromkeys(names):
        if name not in PLACEHOLDERS:
            yield unknown("placeholder", name, PLACEHOLDERS)
    if "answer" not in names:
        yield "the judge would not see the answer: write {answer} where it belongs"


def needs_reference(config: JudgeConfig) -> bool:
    """Whether the prompt shows the reference; our own does so if there is one."""
    return config.prompt is not None and "reference" in PLACEHOLDER.findall(config.prompt)


def grading_prompt(config: JudgeConfig, answer: Answered) -> str:
    """Return the judge's prompt about an answer. An answer is quoted as text, whatever it contains."""
    template = config.prompt or (PROMPT if answer.reference is None else PROMPT_WITH_REFERENCE)
    values = {
        "question": answer.question,
        "answer": answer.answer,
        "reference": answer.reference or "",
        "lowest": f"{config.lowest:g}",
        "highest": f"{config.highest:g}",
    }
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def comparison_prompt(answer_a: Answered, answer_b: Answered) -> str:
    """Return the judge's prompt about two answers to one prompt."""
    values = {
        "question": answer_a.question,
        "first": answer_a.answer,
        "second": answer_b.answer,
        "reference": answer_a.reference or "",
    }
    template = PAIR_PROMPT if answer_a.reference is None else PAIR_PROMPT_WITH_REFERENCE
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def parse_preference(reply: str) -> float | None:
    """Return how far a reply prefers the second answer, 0, 0.5 or 1; None if it is not a single letter A, B or T."""
    text = Message.split_thought(reply)[1].strip()
    # The last line: a judge may explain first, and name both answers.
    letters = set(re.findall(r"\b([ABT])\b", text[text.rfind("\n") + 1 :]))
    return {"A": 0.0, "T": 0.5, "B": 1.0}[letters.pop()] if len(letters) == 1 else None


def parse_grade(reply: str, lowest: float, highest: float) -> float | None:
    """Return the number in a reply or in its last line; None without exactly one number on the scale."""
    text = Message.split_thought(reply)[1].strip()
    best = re.escape(f"{highest:g}")
    # "8/10" and "8 out of 10" are one number.
    text = re.sub(rf"(?<=\d)\s*(?:/|out of)\s*{best}(?![\d.]*\d)", "", text)
    for part in (text, text[text.rfind("\n") + 1 :]):
        numbers = {float(match) for match in NUMBER.findall(part)}
        if len(numbers) == 1 and lowest <= (grade := numbers.pop()) <= highest:
            return grade
    return None
