"""framework/hooks/rewards.py, framework/api/rewarding.py and reward_functions.py: metrics and functions as rewards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from framework import reward
from framework.api import (
    Answer,
    Answered,
    AnswerMetric,
    FunctionReward,
    Message,
    Metric,
    Prompt,
    RewardConfig,
    Rewards,
    Scores,
    rewarding,
)
from framework.api.component import GROUPS, Component
from framework.api.protocols import Reward, RewardContext
from framework.api.schema import MetricConfig, SamplingParams
from framework.api.selection import Selection
from framework.hooks.rewards import FunctionRewardConfig, as_reward
from framework.hooks.session import current
from framework.testing import composition
from framework.testing.protocols import lacks
from framework.util.errors import FrameworkError
from framework_plugins.methods.config import BestOfNConfig
from tests.support.published_rewards import (
    by_length,
    by_task,
    correctness_reward_func,
    count_tags,
    get_cosine,
    int_reward_func,
    remote_check,
    soft_format_reward_func,
    tag_count,
)


def prompt(number: int, reference: str | None = None, **columns: Any) -> Prompt:
    question = Message("user", f"Question {number}")
    return Prompt((question,), reference, where=f"rows.jsonl:{number}", columns=columns)


def answer(text: str) -> Answer:
    return Answer(text, len(text.split()), stopped=True, ids=tuple(range(len(text.split()))))


def scored(function: Callable[..., Any], texts: Sequence[str], *prompts: Prompt) -> Rewards:
    """Score answers by a function, as a run does."""
    made = FunctionReward(function, FunctionRewardConfig())
    asked = prompts or tuple(prompt(n) for n, _ in enumerate(texts, start=1))
    return rewarding.RunRewards({"mine": made}, {"mine": 1.0})(asked, [*map(answer, texts)], step=3, total_steps=30)


PUBLISHED = [
    (correctness_reward_func, [2.0, 0.0]),
    (int_reward_func, [0.5, 0.0]),
    (soft_format_reward_func, [0.5, 0.0]),
    (count_tags, [0.125, -0.005]),
    (remote_check, [1.0, None]),
    (tag_count, [0.5, 0.0]),
    (by_length, [-0.5, 0.0]),
    (get_cosine(), [0.766, -0.997]),
    (by_task, [1.0, 0.0]),
]


@pytest.mark.parametrize(("function", "rewards"), PUBLISHED, ids=[each.__name__ for each, _ in PUBLISHED])
def test_published_rewards_run_unchanged(function: Callable[..., Any], rewards: list[float | None]) -> None:
    asked = prompt(1, answer="12"), prompt(2, answer="")
    texts = ["<reasoning>7 + 5</reasoning>\n<answer>12</answer>", "maybe"]
    assert scored(function, texts, *asked).total == pytest.approx(rewards, abs=1e-2)


def test_the_functions_of_trl_run() -> None:
    options, words = current().plugins.components("reward"), ["<think>\nWhy?\n</think>\nSo it is.", "So."]
    chosen = {name: Selection(options[name], options[name].schema()) for name in ("think_format", "repetition_penalty")}
    overlong = options["soft_overlong"]
    chosen["soft_overlong"] = Selection(overlong, overlong.schema(max_completion_len=7, soft_punish_cache=2))
    run = rewarding.rewarder(chosen)
    assert run([prompt(1), prompt(2)], [*map(answer, words)]).items == {
        "think_format": [1.0, 0.0], "repetition_penalty": [0.0, 0.0], "soft_overlong": [-0.5, 0.0],
    }  # fmt: skip


def test_a_function_gets_what_trl_passes() -> None:
    seen: dict[str, Any] = {}

    def spy(**passed: Any) -> list[float]:
        seen.update(passed)
        passed["log_metric"]("share", 0.5)
        passed["log_extra"]("said", ["one"])
        return [1]

    found = scored(spy, ["Twelve apples"], prompt(1, "12", prompt=[{"role": "user"}], solution="12", level=3))
    assert {*seen} == {
        "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "reference",
        "solution", "level",
    }  # fmt: skip
    assert seen["prompts"] == [[{"role": "user", "content": "Question 1"}]]
    assert seen["completions"] == [[{"role": "assistant", "content": "Twelve apples"}]]
    assert (seen["completion_ids"], seen["solution"], seen["level"]) == ([[0, 1]], ["12"], [3])
    assert (seen["trainer_state"].global_step, seen["trainer_state"].max_steps) == (3, 30)
    assert (found.metrics, found.columns) == ({"share": 0.5}, {"said": ["one"]})


@pytest.mark.parametrize("annotated", [False, True])
def test_answers_are_texts_if_the_prompts_of_the_rows_are_or_the_function_says_so(*, annotated: bool) -> None:
    def plain(prompts: Any, completions: Any) -> list[float]:
        return [float(prompts == ["Question 1"] and completions == ["Yes"])]

    if annotated:
        plain.__annotations__["completions"] = list[str]
    columns = {} if annotated else {"prompt": "Question 1"}
    assert scored(plain, ["Yes"], prompt(1, **columns)).total == [1.0]


def raises(completions: Any, **_: Any) -> list[float]:
    return [1 / len(completion[0]["content"]) for completion in completions]


def ends(**_: Any) -> list[float]:
    raise SystemExit(3)


def lazy_error(completions: Any, **_: Any) -> Any:
    return map(len, [*completions[:-1], None])


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def unprintable(**_: Any) -> list[float]:
    raise UnprintableError


def cancelled(**_: Any) -> list[float]:
    raise asyncio.CancelledError("token=hf_abcdefghijklmnopqrstuvwxyzABCDEFGH")


def logs_a_number(log_metric: Any, **_: Any) -> list[float]:
    log_metric(5, 1)
    return [0.0, 0.0]


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "metric": (logs_a_number, "reward=mine fails for the answers to rows.jsonl:1: it calls log_metric(5, …): the name"),
    "lazy": (lazy_error, "reward=mine fails for the answers to rows.jsonl:1: TypeError: object of type 'NoneType'"),
    "endless": (lambda **_: itertools.repeat(1.0), "reward=mine returned more than 2 rewards for 2 answers: return"),
    "too large": (lambda **_: [1.0, 10**5000], "reward=mine returned a value of the type int for an answer to rows"),
    "bytes": (lambda **_: b"ab", "reward=mine returned b'ab' for 2 answers: return a list with a number for each"),
    "set": (lambda **_: {0.0, 1.0}, "reward=mine returned {0.0, 1.0} for 2 answers: return a list with a number"),
    "unprintable": (unprintable, "rows.jsonl:1: UnprintableError: it has a message that cannot be printed"),
    "cancelled": (cancelled, "rows.jsonl:1: CancelledError: token=(hidden) ("),
    "raises": (raises, "reward=mine fails for the answers to rows.jsonl:2: ZeroDivisionError: division by zero"),
    "exits": (ends, "reward=mine fails for the answers to rows.jsonl:1: SystemExit: 3"),
    "none": (lambda **_: None, "reward=mine returned None for 2 answers: return a list with a number for each"),
    "too few": (lambda **_: [1.0], "reward=mine returned 1 reward for 2 answers: return one for each"),
    "no list": (lambda **_: 1.0, "reward=mine returned 1.0 for 2 answers: return a list with a number for each"),
    "text": (lambda **_: [1.0, "good"], "reward=mine returned 'good' for an answer to rows.jsonl:2: return a finite"),
    "nan": (lambda **_: [1.0, math.nan], "reward=mine returned nan for an answer to rows.jsonl:2: return a finite"),
    "field": (lambda solution: solution, "it reads 'solution' of each row, and the rows have level: add the field"),
}


@pytest.mark.parametrize(("function", "told"), WRONG.values(), ids=WRONG)
def test_a_reward_that_fails_is_an_error_with_its_prompt(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        scored(function, ["Yes", ""], prompt(1, level=1), prompt(2, level=2))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def hangs(completions: Any, **_: Any) -> list[float]:
    """Hang at one answer, and take any exception for a wrong answer, as many published rewards do."""
    with contextlib.suppress(Exception):
        while any(one[0]["content"] == "hang" for one in completions):
            time.sleep(0.01)
    return [0.0 for _ in completions]


async def waits(completions: Any, **_: Any) -> list[float]:
    if any(one[0]["content"] == "hang" for one in completions):
        await asyncio.sleep(60)
    return [0.0 for _ in completions]


def waits_lazily(completions: Any, **_: Any) -> Any:
    return (threading.Event().wait(60 * (one[0]["content"] == "hang")) for one in completions)


def uses_the_alarm(completions: Any, **_: Any) -> list[float]:
    """Limit its own parser by an alarm, as math-verify does, and hang after that."""
    for one in completions:
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.alarm(5)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        time.sleep(60 if one[0]["content"] == "hang" else 0)
    return [0.0 for _ in completions]


@pytest.mark.parametrize("function", [hangs, waits, waits_lazily, uses_the_alarm])
def test_a_reward_that_hangs_is_an_error_with_its_prompt_and_the_setting(function: Callable[..., Any]) -> None:
    made = FunctionReward(function, FunctionRewardConfig(max_seconds=0.05))
    run = rewarding.RunRewards({"mine": made}, {"mine": 1.0}, {"mine": 0.05})
    with pytest.raises(FrameworkError, match=r"mine takes longer than reward.mine.max_seconds=0.05 .* rows.jsonl:2: r"):
        run([prompt(1), prompt(2)], [answer("yes"), answer("hang")])


def test_a_generator_that_hangs_is_an_error_with_its_prompts_and_the_setting() -> None:
    def generate(prompts: Sequence[Prompt], params: SamplingParams) -> list[Any]:
        time.sleep(60)
        return [prompts] * params.n

    drawing = rewarding.limited(generate, BestOfNConfig(max_draw_seconds=0.05))
    with pytest.raises(FrameworkError, match=r"4 answers to rows.jsonl:1 and 1 .* method.max_draw_seconds=0.05: r"):
        drawing([prompt(1), prompt(2)], SamplingParams(4))


def test_rewards_are_added_up_by_their_weights() -> None:
    made = {
        "long": FunctionReward(lambda completion_ids: [*map(len, completion_ids)], FunctionRewardConfig()),
        "rare": FunctionReward(lambda completions: [None for _ in completions], FunctionRewardConfig()),
    }
    run = rewarding.RunRewards(made, {"long": 0.5, "rare": 2.0})
    found = run([prompt(1), prompt(1)], [answer("one two"), answer("three")])
    assert (found.total, found.items["rare"]) == ([1.0, 0.5], [None, None])
    assert rewarding.RunRewards({"rare": made["rare"]}, {"rare": 1.0})([prompt(1)], [answer("one")]).total == [None]


def test_a_decorated_function_is_an_option_with_options_of_its_own() -> None:
    @dataclass
    class Limit(RewardConfig):
        words: int = 2

    def short(completions: Any, limit: Any, **_: Any) -> list[float]:
        """1 for a short answer."""
        return [float(len(one[0]["content"].split()) <= limit.words) for one in completions]

    short.__annotations__["limit"] = Limit
    option: Any = reward(short)
    made = option.create(option.schema(words=1))
    assert made.rewards([prompt(1)] * 2, [answer("yes"), answer("oh yes")], RewardContext()) == [1.0, 0.0]
    assert option.schema.__doc__ == "1 for a short answer."
    assert not lacks(made, GROUPS["reward"].product)
    with pytest.raises(TypeError, match="is not a function"):
        reward(Limit)


def test_every_metric_is_a_reward_with_its_own_settings_and_a_weight() -> None:
    plugins = current().plugins
    metrics, rewards = plugins.components("metric"), plugins.components("reward")
    assert {*metrics} <= {*rewards}
    config = composition.compose(
        ["reward=[exact_match,length]", "reward.exact_match.ignore_case=true", "reward.length.weight=0.1"]
    )
    chosen = {name: plugins.selection_of(config.reward[name]) for name in ("exact_match", "length")}
    assert {name: choice.component.name for name, choice in chosen.items()} == {name: name for name in chosen}
    found = rewarding.rewarder(chosen)([prompt(1, "Yes"), prompt(2)], [answer("yes"), answer("oh no")])
    assert found.items == {"exact_match": [1.0, None], "length": [-1.0, -2.0]}
    assert found.total == pytest.approx([0.9, -0.2])


def test_a_metric_of_the_reference_is_no_reward() -> None:
    option = current().plugins.components("reward")["perplexity"]
    with pytest.raises(FrameworkError, match="reward=perplexity measures the reference and not the answer"):
        rewarding.rewarder({"perplexity": Selection(option, option.schema())})


class Broken(Metric):
    higher_is_better = needs_reference = True

    def score(self, answer: str, reference: str | None) -> float:
        return {"a": 1.0, reference: 1.0}[answer]


def test_a_metric_that_raises_is_named_with_the_prompt() -> None:
    run = rewarding.RunRewards({"broken": Broken()}, {"broken": 1.0})
    with pytest.raises(FrameworkError, match=r"reward=broken fails for the answers to rows.jsonl:2: KeyError: 'b'"):
        run([prompt(1, "x"), prompt(2, "x")], [answer("a"), answer("b")])
    assert not isinstance(Broken(), Reward)


class Judge(AnswerMetric):
    """Grades with what it is given, as a judge does with what an endpoint answers."""

    def __init__(self, *grades: float | None) -> None:
        self.grades = iter(grades)

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        return Scores([next(self.grades) for _ in answers], notes=["the endpoint does not answer"])


def test_a_judge_is_a_reward_and_one_that_gives_no_grade_at_all_is_an_error() -> None:
    asked = [prompt(1), prompt(2)], [answer("a"), answer("b")]
    assert rewarding.RunRewards({"judge": Judge(0.5, None)}, {"judge": 2.0})(*asked).total == [1.0, None]
    with pytest.raises(FrameworkError, match=r"reward=judge fails for the answers to .*: the endpoint does not answer"):
        rewarding.RunRewards({"judge": Judge(*[None] * 9)}, {"judge": 1.0})(*asked)


def test_the_schema_of_a_metric_as_a_reward_is_made_once() -> None:
    @dataclass
    class Mine(MetricConfig):
        """Mine."""

    metric = Component("mine", Mine, "mine:Mine")
    assert as_reward(metric).schema is as_reward(metric).schema
    assert issubclass(as_reward(metric).schema, Mine)
