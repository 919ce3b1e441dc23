"""How far an answer of an endpoint is from what a model would have written, token by token.

A model reads the prompt as it was trained to, and then the tokens that the endpoint chose. With log-probabilities the
distance is the mean difference of them in nats; without, it is the share of the tokens that the model would not have
chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from framework import FrameworkError, Plan
from framework.api import Message, Model, Prompt, Scored
from framework.api.program import load_data
from framework.api.training import TokenRow
from framework_plugins.exports.endpoint.answers import ServedAnswer
from framework_plugins.exports.llama.process import LlamaProcess
from framework_plugins.exports.parity.agreement import log_softmax
from framework_plugins.exports.parity.check_rows import GENERAL_QUESTIONS
from framework_plugins.exports.parity.conversations import RenderedConversation

MAX_PROMPT_TOKENS = 1024
"""Longer prompts are not asked: each is computed up to four times here."""
MAX_NEW_TOKENS = 48
LARGEST_DIFFERENCE = 10.0
"""Nats that one token counts at most; endpoints write -9999 for tokens that were cut off."""
SHORT_HEADER = 8
"""Tokens that open a user's turn, at most; more of them before the first question are a system turn of the template."""
Scorer = Callable[[Sequence[int], Sequence[int]], Scored]
"""Scores an answer after a prompt, both as token ids, and then the stop token."""


def questions(plan: Plan, model: Model) -> list[RenderedConversation]:
    """Return what is asked: the run's own prompts, and a general one after each of the first.

    Raises:
        FrameworkError: the data of the run cannot be read, or no prompt is short enough.
    """
    own = load_data(replace(plan, audit={}), model).prompts
    general = [Prompt((Message("user", text),)) for text in GENERAL_QUESTIONS]
    chosen: list[RenderedConversation] = []
    for prompt in (prompt for pair in zip_longest(own, general) for prompt in pair if prompt is not None):
        try:
            text = model.render(prompt)
        except FrameworkError:  # a template that requires a system prompt: the run's own prompts have it
            continue
        ids = tuple(model.tokenize(text))
        if len(ids) <= MAX_PROMPT_TOKENS:
            chosen.append(RenderedConversation(prompt, text, ids))
    if not chosen:
        raise FrameworkError(f"no prompt of the run has {MAX_PROMPT_TOKENS} tokens or fewer")
    return chosen


def model_scorer(model: Model) -> Scorer:
    """Score with a model in memory."""
    stop = min(model.stop_ids)

    def score(prompt: Sequence[int], answer: Sequence[int]) -> Scored:
        learned = [*answer, stop]
        return model.score([TokenRow([*prompt, *learned], [TokenRow.IGNORE] * len(prompt) + learned)])[0]

    return score


@contextmanager
def file_scorer(file: Path) -> Iterator[Scorer]:
    """Score with a GGUF file in llama.cpp, which reads it as its server does."""
    with LlamaProcess(file, n_ctx=MAX_PROMPT_TOKENS + 2 * MAX_NEW_TOKENS) as llama:

        def score(prompt: Sequence[int], answer: Sequence[int]) -> Scored:
            log_probs = log_softmax(llama.logits([*prompt, *answer], last=len(answer) + 1))
            chosen = [float(log_probs[place, token]) for place, token in enumerate(answer)]
            return Scored([*chosen, 0.0], log_probs.argmax(-1).tolist())

        yield score


@dataclass(frozen=True)
class Observation:
    """What one answer shows.

    Attributes:
        trained: distance from the trained model.
        base: distance from the base; None if the base is gone.
        file: distance from the exported file; None if there is none to compare with.
        with_log_probs: whether the distances are in nats; else they are shares of tokens.
        extra_prompt_tokens: how many more tokens the prompt has there than in the training; None if unknown.
        prompt_cause: what would explain that.
        ran_on: whether the endpoint continued to the limit where the trained model ends its answer.
        stopped: whether the model ended the answer.
        sampled: tokens of the answer that are not the likeliest, in the endpoint's own numbers.
        uncertain: how many tokens would be others at temperature 1, on average.
    """

    trained: float
    base: float | None
    file: float | None
    with_log_probs: bool
    extra_prompt_tokens: int | None
    prompt_cause: str
    ran_on: bool
    stopped: bool
    sampled: int
    uncertain: float


@dataclass(frozen=True)
class Scorers:
    """The models that an answer is compared with; see `Observation`."""

    trained: Scorer
    base: Scorer | None
    file: Scorer | None


def observe(question: RenderedConversation, answer: ServedAnswer, model: Model, scorers: Scorers) -> Observation:
    """Compare an answer with each model."""
    ids, aligned = _answer_ids(answer, model)
    trained = scorers.trained(question.ids, ids)
    # Tokens after the place where the model would have stopped are like no text that it was trained on.
    end = next((place for place, token in enumerate(trained.top) if token in model.stop_ids), len(ids))
    ran_on = not answer.stopped and end < len(ids)
    count = end if ran_on and end else len(ids)

    def distance(scored: Scored) -> float:
        if aligned:
            pairs = zip(answer.tokens[:count], scored.log_probs, strict=False)
            gaps = [min(LARGEST_DIFFERENCE, abs(token.log_prob - log_prob)) for token, log_prob in pairs]
            return sum(gaps) / max(1, len(gaps))
        misses = sum(token != top for token, top in zip(ids[:count], scored.top, strict=False))
        # How an answer ends counts as a token: a model that continues where another stops is another.
        misses += answer.stopped and scored.top[len(ids)] not in model.stop_ids
        return misses / (count + answer.stopped)

    extra = None if answer.prompt_tokens is None else answer.prompt_tokens - len(question.ids)
    return Observation(
        trained=distance(trained),
        base=distance(scorers.base(question.ids, ids)) if scorers.base else None,
        file=distance(scorers.file(question.ids, ids)) if scorers.file else None,
        with_log_probs=aligned,
        extra_prompt_tokens=extra,
        prompt_cause=_prompt_cause(model, question, extra) if extra else "",
        ran_on=ran_on,
        stopped=answer.stopped,
        sampled=sum(not token.is_greedy for token in answer.tokens[:count]),
        uncertain=-sum(math.expm1(min(0.0, token.log_prob)) for token in answer.tokens[:count]),
    )


def _answer_ids(answer: ServedAnswer, model: Model) -> tuple[list[int], bool]:
    """Return the tokens of an answer, and whether each has a log-probability."""
    tokens = answer.tokens
    if tokens and all(token.token_id is not None for token in tokens):
        ids = [token.token_id for token in tokens if token.token_id is not None]
    else:
        data = b"".join(token.data for token in tokens)
        ids = model.tokenize(data.decode(errors="replace") if tokens else answer.text)
    aligned = len(ids) == len(tokens)
    while ids and ids[-1] in model.stop_ids:
        ids.pop()
    return ids, aligned and bool(ids)


def _prompt_cause(model: Model, question: RenderedConversation, extra: int) -> str:
    """Return what explains how many tokens the endpoint's prompt has; empty if nothing known does."""
    prompt, expected = question.prompt, len(question.ids)
    system = [message for message in prompt.messages if message.role == "system"]
    fewer = {
        "the system turn is lost": replace(
            prompt, messages=tuple(message for message in prompt.messages if message not in system)
        ),
        "the tools are lost": replace(prompt, tools=()),
    }
    for cause, without in fewer.items():
        if without != prompt:
            try:
                ids = model.tokenize(model.render(without))
            except FrameworkError:  # a template that requires a system prompt
                continue
            if len(ids) - expected == extra:
                return cause
    opening = len(model.tokenize(question.text[: question.text.find(prompt.messages[0].content)]))
    if not system and opening > SHORT_HEADER and 0 < opening + extra <= SHORT_HEADER:
        return "the system turn that the chat template writes by itself is lost"
    return "a token is put before it, a second BOS as a rule" if extra == 1 else ""
