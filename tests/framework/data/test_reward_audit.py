"""framework/data/reward_audit.py: faults of verifiers are found, and honest ones raise no alarm."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework import reward, testing
from framework.api import Answer, Finding, FunctionReward, Message, Prompt, Severity, rewarding
from framework.api.schema import Role
from framework.api.selection import Selection
from framework.data.reward_audit import RewardAudit, drawn, findings
from framework.data.stage import load_data
from framework.hooks.rewards import FunctionRewardConfig
from framework.hooks.session import current
from tests.support import tools
from tests.support.published_rewards import (
    correctness_reward_func,
    count_tags,
    int_reward_func,
    last_tag,
    soft_format_reward_func,
)

PAIRS = [(3, 4), (10, 5), (7, 7), (20, 1), (13, 9), (6, 2), (40, 30), (8, 8), (50, 17), (9, 90)]
CITIES = {"Peru": "Lima", "Norway": "Oslo", "Kenya": "Nairobi", "Japan": "Tokyo", "Chile": "Santiago", "Cuba": "Havana"}
SUMS = [(f"How much is {one} + {two}?", str(one + two)) for one, two in PAIRS]
CAPITALS = [(f"Name the capital of {country}.", city) for country, city in CITIES.items()]
ORDERS = [(f"{n} crates of {what}", f'{{"count": {n}, "item": "{what}"}}') for n, what in enumerate(CITIES.values(), 2)]
SIGNS = [(f"Is {one - two} negative, yes or no?", "yes" if one < two else "no") for one, two in PAIRS]
CHOICES = [(f"Which is largest: A {a}, B {b} or C 25?", "ABC"[[a, b, 25].index(max(a, b, 25))]) for a, b in PAIRS]
WORDS = [(f"Write one short sentence with the words {city} and {land}.", None) for land, city in CITIES.items()]
Rows = Sequence[tuple[str, str | None]]


def prompts(rows: Rows) -> list[Prompt]:
    return [
        Prompt((Message("user", asked),), wanted, where=f"rows.jsonl:{n}", columns={"answer": wanted})
        for n, (asked, wanted) in enumerate(rows, start=1)
    ]


def each(check: Callable[[str, str], float | None]) -> Callable[..., Any]:
    """Return a reward of a check of one answer and its reference."""
    return lambda completions, answer, **_: [
        check(one[0]["content"], wanted) for one, wanted in zip(completions, answer, strict=True)
    ]


def audit(rows: Rows, *chosen: str | Callable[..., Any]) -> dict[str, Finding]:
    made: dict[str, Any] = {}
    for number, one in enumerate(chosen):
        if isinstance(one, str):
            option = current().plugins.components("reward")[one]
            made[one] = Selection(option, option.schema()).create()
        else:
            made[getattr(one, "__name__", "").strip("<>") or f"r{number}"] = FunctionReward(one, FunctionRewardConfig())
    run = rewarding.RunRewards(made, dict.fromkeys(made, 1.0))
    found = RewardAudit(run, lambda text: [len(word) for word in text.split()]).made(prompts(rows))
    return {finding.name: finding for finding in found}


def number(text: str) -> str:
    found: list[str] = re.findall(r"-?\d+", text)
    return found[-1] if found else "none"


def swallows(text: str, wanted: str) -> float:
    try:
        given: Any = int(text)
        return float(given == wanted)  # it compares a number with a text
    except ValueError:
        return 0.0


PLANTED: dict[str, tuple[Rows, Callable[..., Any], str]] = {
    "always 0, since errors count as 0": (SUMS, each(swallows), "reward_constant"),
    "the reference anywhere in the answer": (SUMS, each(lambda text, wanted: float(wanted in text)), "reward_list"),
    "the answer anywhere in the reference": (
        CAPITALS,
        each(lambda text, wanted: float(text in wanted)),
        "reward_empty",
    ),
    "the form only": (SUMS, each(lambda text, _: float("<answer>" in text)), "reward_wrong"),
    "a word beside the form, for half": (
        SUMS,
        each(lambda text, wanted: 0.5 * (text.strip() == wanted) + 0.5 * ("because" in text)),
        "reward_wrong",
    ),
    "the form, for more than half": (
        SUMS,
        each(lambda text, wanted: 0.6 * ("<answer>" in text) + 0.4 * (wanted in text)),
        "reward_wrong",
    ),
    "the prompt only": (
        SUMS,
        lambda prompts, **_: [float(len(asked[0]["content"])) for asked in prompts],
        "reward_no_signal",
    ),
    "the length": (CAPITALS, each(lambda text, wanted: min(len(text), 900) / 300 + (text == wanted)), "reward_long"),
    "one that repeats": (
        CAPITALS,
        each(lambda text, wanted: float(text == wanted) + text.count(" ") / 9),
        "reward_repeated",
    ),
    "references in another form than it reads": (
        [(asked, f"{wanted}.0") for asked, wanted in SUMS],
        each(lambda text, wanted: float(text.isdigit() and float(text) == float(wanted))),
        "reward_constant",
    ),
    "some references that it cannot read": (
        [*SUMS, ("How much is 600 + 434?", "1,034")],
        each(lambda text, wanted: float(number(text) == wanted)),
        "reward_reference",
    ),
    "an empty answer that makes it fail": (
        CAPITALS,
        each(lambda text, wanted: float(text.split()[0] == wanted)),
        "reward_fails",
    ),
    "no opinion on anything": (CAPITALS, lambda completions, **_: [None for _ in completions], "reward_none"),
    "words that the question has": (
        WORDS,
        lambda completions, prompts, **_: [
            float(all(word in one[0]["content"] for word in re.findall("[A-Z][a-z]+", asked[0]["content"])[1:]))
            for one, asked in zip(completions, prompts, strict=True)
        ],
        "reward_copy",
    ),
}


@pytest.mark.parametrize(("rows", "reward", "found"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(rows: Rows, reward: Callable[..., Any], found: str) -> None:
    findings = audit(rows, reward)
    assert found in findings
    assert findings[found].severity is not Severity.note
    assert findings[found].fatal == (found in {"reward_fails", "reward_none"})


def test_a_reward_that_hangs_at_an_answer_is_found() -> None:
    def hangs(text: str, wanted: str) -> float:
        while not text:
            time.sleep(0.01)
        return float(text == wanted)

    made = FunctionReward(each(hangs), FunctionRewardConfig())
    run = rewarding.RunRewards({"mine": made}, {"mine": 1.0}, {"mine": 1.0})
    (found,) = RewardAudit(run, lambda text: [len(word) for word in text.split()]).made(prompts(CAPITALS))
    assert (found.name, found.fatal) == ("reward_fails", True)
    assert "takes longer than reward.mine.max_seconds=1 for the answers to rows.jsonl:1" in found.text
    assert found.text.endswith("(an empty answer), which is made for this audit")


def test_a_reward_of_the_environment_is_not_audited_and_that_is_said() -> None:
    option: Any = reward(tools.at_target)
    other = current().plugins.components("reward")["exact_match"]
    chosen = {
        "at_target": Selection(option.framework_option, option.schema()),
        "exact_match": Selection(other, other.schema()),
    }
    (found,) = findings(chosen, lambda text: [len(word) for word in text.split()], prompts(CAPITALS), 8)
    assert (found.name, found.severity) == ("reward_not_audited", Severity.note)
    assert found.text == "reward=at_target reads the environment, and made answers have none: it is not audited"


exact = each(lambda text, wanted: float(text.strip() == wanted))
same_number = each(lambda text, wanted: float(number(text) == wanted))
after_think = each(lambda text, wanted: float(text.rsplit("</think>", maxsplit=1)[-1].strip() == wanted))
tagged = each(lambda text, wanted: float(last_tag(text) == wanted))
last_letter = each(lambda text, wanted: float((re.findall(r"\b[ABC]\b", text) or [""])[-1] == wanted))
HONEST: list[tuple[Rows, tuple[str | Callable[..., Any], ...]]] = [
    *((rows, (reward,)) for rows in (SUMS, CAPITALS, ORDERS) for reward in ("exact_match", "token_f1", exact, tagged)),
    (ORDERS, ("json_fields",)),
    (SUMS, (same_number,)),
    (SUMS, (after_think,)),
    (SIGNS, (exact,)),
    (SIGNS, ("exact_match",)),
    (CHOICES, ("exact_match",)),
    (CHOICES, (last_letter,)),
    (SUMS, (correctness_reward_func, int_reward_func, soft_format_reward_func, count_tags)),
]


def test_honest_rewards_give_no_alarm() -> None:
    assert len(HONEST) == 20
    alarms = {
        (place, finding.text)
        for place, (rows, chosen) in enumerate(HONEST)
        for finding in audit(rows, *chosen).values()
        if finding.severity is not Severity.note
    }
    assert alarms == set()


def test_noise_makes_no_honest_reward_serious() -> None:
    numbers = [(f"How much is {n} + {n}?", str(2 * n)) for n in range(32)]
    for seed in range(4):
        noise = random.Random(seed)  # noqa: S311 - noise

        def noisy(text: str, wanted: str, noise: random.Random = noise) -> float:
            return float((text.strip() == wanted) != (noise.random() < 0.03))

        found = audit(numbers, each(noisy))
        assert not [one.text for one in found.values() if one.severity is Severity.serious]


def test_without_references_a_constant_reward_is_no_alarm() -> None:
    found = audit(WORDS, each(lambda text, _: float(text == "A good answer.")))
    assert [(one.name, one.severity) for one in found.values()] == [("reward_constant", Severity.note)]


def test_a_reward_without_a_number_for_long_answers_is_audited() -> None:
    def brief(text: str, wanted: str) -> float | None:
        return None if len(text) > 80 else float(wanted in text)

    found = audit(CAPITALS, each(brief))
    assert not {"reward_fails", "reward_long"} & found.keys()


def test_rewards_that_contradict_each_other_are_named() -> None:
    def terse(completion_ids: list[list[int]]) -> list[float]:
        return [1 / (1 + len(ids)) for ids in completion_ids]

    def verbose(completion_ids: list[list[int]]) -> list[float]:
        return [float(len(ids)) for ids in completion_ids]

    found = audit(CAPITALS, exact, terse, verbose)["reward_disagree"]
    assert found.text.startswith("reward=terse and reward=verbose contradict each other: their correlation is -1.00")


def test_answers_of_the_model_show_prompts_without_signal_and_a_paid_length() -> None:
    asked = prompts(CAPITALS)
    groups = [(one, [Answer("word " * n, n, stopped=True) for n in range(1, 6)]) for one in asked]
    numbers = [0.0] * 10 + [float(n) for n in range(20)]
    run = rewarding.RunRewards({"long": FunctionReward(lambda **_: numbers, FunctionRewardConfig())}, {"long": 1.0})
    flat = [(one, answer) for one, answers in groups for answer in answers]
    rewards = run([one for one, _ in flat], [answer for _, answer in flat])
    assert {one.name: one.rows for one in drawn(groups, rewards)} == {"reward_no_signal": 2, "reward_long": 6}
    few = rewarding.RunRewards(run.rewards, run.weights)
    numbers[:] = numbers[10:15]
    assert drawn(groups[:1], few([one for one, _ in flat[:5]], [answer for _, answer in flat[:5]])) == []


ASKING = {
    "text": ({"prompt": "Say a"}, None),
    "messages": ({"prompt": [{"role": "user", "content": "Say a"}]}, None),
    "a field that a reward reads": ({"prompt": "Say a", "hint": "a", "level": 3}, None),
    "with a reference": ({"instruction": "Say a", "output": "a"}, "a"),
    "alpaca without an output": ({"instruction": "Say", "input": "a"}, None),
}


@pytest.mark.parametrize(("row", "reference"), ASKING.values(), ids=ASKING)
def test_a_row_without_an_answer_is_a_prompt_of_a_method_that_draws_answers(
    row: dict[str, Any], reference: str | None, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    words = ["data=local_file", f"data.path={tmp_path / 'rows.jsonl'}", "data.validation_split=0", "method=best_of_n"]
    plan = testing.plan([*words, "reward=[think_format]", "audit=[]"], run_dir=tmp_path / "run")
    data = load_data(plan, testing.EchoModel(plan))
    (found,) = data.train_prompts
    assert (found.messages[-1].content.split(), found.reference) == (["Say", "a"], reference)
    assert (found.columns, [group.roles for group in data.train_groups]) == (row, [(Role.prompt,)])
    assert data.result.unread_fields == {}
