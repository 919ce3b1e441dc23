"""What is wrong with rewards, before anything is learned from them: on answers that are made, and on the model's own.

For some prompts answers are made that an honest reward tells apart: the reference, in the forms in which rewards expect
it; another prompt's reference; and what a model finds if a reward does not: an empty answer, the question, a long or a
repeated one, all references as a list. A made answer wins a prompt if it gets nearly as much as the reference. The
share of prompts that one form of it wins has to be more than what a constant answer would win by chance. Forms are
counted one by one: the best of many forms would multiply the noise of a reward.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from framework.api.protocols import AnswerMetric, RewardContext
from framework.api.records import Answer, Finding, Prompt, Rewards, Severity
from framework.api.rewarding import RunRewards, place_of, rewarder, weighted_sum
from framework.api.scoring import question
from framework.api.selection import Selection
from framework.data.audit import refuse_fatal
from framework.util.errors import FrameworkError
from framework.util.redact import redact

AUDITED, AUDITED_SLOW = 32, 6
"""Prompts that are audited, and how many if a reward takes long, such as a judge."""
SLOW = 0.1
"""Seconds for an answer from which a reward takes long."""
SLOW_STEP = 5.0
"""Seconds of an optimizer step that scoring may take before the audit says so."""
NEAR, LEAST_WON, LEAST_FAILED = 0.1, 0.2, 0.05
"""How near to the reference a made answer wins, as a part of what lies between the best and the worst; the share of
prompts that it has to win beyond chance; and the share of references that may fail."""
HALF = 0.5
"""The part of a good answer's reward from which the form is paid too much."""
NEARLY = 0.98
"""The share of answers with one reward from which it is nearly constant."""
OPPOSED, PAID, LEAST_PAIRS = -0.3, 0.6, 20
"""Correlations: from which two rewards contradict each other, and from which length pays; and the least answers."""
TINY = 1e-9
FORMS = (
    "{}",
    "<answer>{}</answer>",
    "<think>\nI think about it.\n</think>\n{}",
    "<think>\nI think about it.\n</think>\n<answer>\n{}\n</answer>",
    "<reasoning>\nI think about it.\n</reasoning>\n<answer>\n{}\n</answer>\n",
    "<start_working_out>I think about it.<end_working_out><SOLUTION>{}</SOLUTION>",
    "I think about it.\n#### {}",
    "The answer is \\boxed{{}}.",
    "```\n{}\n```",
    "First, I think step by step, because it helps. Therefore, the final answer is:\n{}",
)
"""Forms in which published rewards expect an answer, and words of reasoning, which may be paid."""
FILLER = "This sentence says nothing about the question. "
SHORT_FILL, LONG_FILL, REPEATS = 4, 60, 40
ODD_TEXTS = ("日本語 🎉 ñ", "[1, 2", '{"a": ', "<answer>", "\\boxed{", "1/0")
"""What makes a reward fail that reads an answer without care."""
LONGEST = 8000
"""Characters of a made answer, about."""
REFERENCE, WRONG, EMPTY, COPY, REPEATED, LIST, LONG, ODD, CUT = (
    "reference", "wrong", "empty", "copy", "repeated", "list", "long", "odd", "cut",
)  # fmt: skip
HACKS = {
    EMPTY: ("empty answers", "give an empty answer the lowest reward"),
    COPY: ("answers that repeat the question", "compare with what the question does not say"),
    REPEATED: ("answers that repeat one text many times", "read one answer, and give 0 if there are several"),
    LIST: ("answers that list all references", "compare the whole answer, or the last of its values"),
    WRONG: (
        "wrong answers in the right form",
        "give more for the content than for the form, by `reward.NAME.weight`",
    ),
    LONG: ("long wrong answers", "do not add up what a longer answer has more of, or limit the sum"),
}
"""What may win besides good answers, and what to do about it."""
CONSTANT_ADVICE = "nothing can be learned from it: see what it reads of an answer, and in which form"


def findings(
    rewards: Mapping[str, Selection], tokenize: Callable[[str], list[int]], prompts: Sequence[Prompt], step_answers: int
) -> list[Finding]:
    """Return the findings about a run's rewards on made answers to its prompts; a step has `step_answers`.

    Raises:
        FrameworkError: a reward cannot be created, fails, or has no number for any answer.
    """
    reward = rewarder(rewards)
    text_rewards = reward.of_texts()
    results = RewardAudit(text_rewards, tokenize, step_answers).made(prompts) if text_rewards.rewards else []
    refuse_fatal(results)
    blind = [name for name in reward.rewards if name not in text_rewards.rewards]
    if blind:
        text = f"reward={','.join(blind)} reads the environment, and made answers have none: it is not audited"
        results.append(_finding("reward_not_audited", 0, text, "read some answers of the training", Severity.note))
    return results


def made_answers(prompt: Prompt, other_reference: str | None, references: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give kind and text of each made answer to a prompt; `other_reference` is the reference of another prompt.

    The first of each kind says the most.
    """
    question_text = prompt.messages[-1].content
    if prompt.reference is not None:
        yield from ((REFERENCE, form.replace("{}", prompt.reference)) for form in FORMS)
    if other_reference is not None:
        yield from ((WRONG, form.replace("{}", other_reference)) for form in FORMS)
    yield from ((EMPTY, text) for text in ("", "\n", "…"))
    yield COPY, question_text
    yield COPY, question(prompt)
    filled = other_reference or "."
    for text in (filled, question_text):
        yield REPEATED, " ".join([text] * max(2, min(REPEATS, LONGEST // (1 + len(text)))))
    if len(references) > 1 and sum(map(len, references)) <= LONGEST:
        # In both orders: of a list, a reward that reads the first or the last value finds the right one by chance.
        yield LIST, ", ".join(references)
        yield LIST, ", ".join(reversed(references))
    yield from ((ODD, text) for text in ODD_TEXTS)
    yield CUT, "a word " * (LONGEST // 7)
    yield LONG, f"{filled} {FILLER * SHORT_FILL}".strip()
    yield LONG, f"{filled} {FILLER * LONG_FILL}".strip()


@dataclass
class Probe:
    """The rewards of the made answers to one prompt: for each the kind and the sum."""

    prompt: Prompt
    kinds: list[str] = field(default_factory=list)
    sums: list[float | None] = field(default_factory=list)

    @property
    def total(self) -> list[float]:
        """The sums that are known."""
        return [total for total in self.sums if total is not None]

    def forms(self, kind: str) -> list[float | None]:
        """Return the sum of each form of one kind."""
        return [total for form_kind, total in zip(self.kinds, self.sums, strict=True) if form_kind == kind]

    def of(self, kind: str) -> list[float]:
        """Return the sums of one kind that are known."""
        return [total for total in self.forms(kind) if total is not None]

    @property
    def low(self) -> float:
        """The reward of a bad answer; a long one may get less."""
        return min([*self.of(EMPTY), *self.of(WRONG)] or self.total)

    @property
    def spread(self) -> float:
        """The difference between the highest and the lowest reward."""
        return max(self.total) - min(self.total)

    def best(self, kind: str) -> float | None:
        """Return the highest sum of one kind."""
        return max(self.of(kind), default=None)


class RewardAudit:
    """Looks at the rewards of a run.

    Args:
        reward: the rewards.
        tokenize: from a text to its tokens.
        step_answers: answers of an optimizer step; 0 if that is not known.
    """

    def __init__(self, reward: RunRewards, tokenize: Callable[[str], list[int]], step_answers: int = 0) -> None:
        self.reward, self.tokenize, self.step_answers = reward, tokenize, step_answers
        self.seconds = dict.fromkeys(reward.rewards, 0.0)
        self.scored = self.prompts = 0
        self.referenced = False
        # A request for each answer, as a judge makes it, is such a metric.
        self.costly = any(isinstance(scorer, AnswerMetric) for scorer in reward.rewards.values())
        self.items: dict[str, list[float | None]] = {name: [] for name in reward.rewards}
        self.sizes: list[int] = []

    def made(self, prompts: Sequence[Prompt]) -> list[Finding]:
        """Return the findings about the rewards on made answers to some of these prompts."""
        sample = spread(prompts, AUDITED_SLOW if self.costly else AUDITED)
        if not sample:
            return []
        references = list(dict.fromkeys(prompt.reference for prompt in sample if prompt.reference is not None))
        self.referenced = bool(references)
        probes, failures = self._probe(sample, references)
        if failures:
            return failures
        return [*self._reward_findings(), *self._hack_findings(probes, references), *self._slow_findings()]

    def _probe(self, prompts: Sequence[Prompt], references: Sequence[str]) -> tuple[list[Probe], list[Finding]]:
        """Score all made answers, prompt by prompt; return the probes, or the findings about a reward that fails."""
        probes: list[Probe] = []
        for index, prompt in enumerate(prompts):
            if index >= AUDITED_SLOW and sum(self.seconds.values()) > SLOW * self.scored:
                break
            candidates = [*made_answers(prompt, _next_reference(index, prompts), references)]
            if self.costly:
                candidates = [*{kind: (kind, text) for kind, text in reversed(candidates) if kind != ODD}.values()]
            probe = Probe(prompt)
            items: dict[str, list[float | None]] = {}
            answers = [self._answer(*candidate) for candidate in candidates]
            for name in self.reward.rewards:
                try:
                    items[name] = self._score(name, [prompt] * len(answers), answers)
                except FrameworkError as error:
                    return [], [self._failure(name, prompt, candidates, error)]
            self.scored += len(answers)
            self.prompts += 1
            self.sizes.append(len(answers))
            for position, (kind, _) in enumerate(candidates):
                probe.kinds.append(kind)
                row = [items[name][position] for name in items]
                probe.sums.append(weighted_sum(row, list(self.reward.weights.values())))
            for name, scores in items.items():
                self.items[name] += scores
            if probe.total:
                probes.append(probe)
        return probes, []

    def _answer(self, kind: str, text: str) -> Answer:
        ids = tuple(self.tokenize(text))
        return Answer(text, len(ids), stopped=kind != CUT, ids=ids)

    def _score(
        self, name: str, prompts: Sequence[Prompt], answers: Sequence[Answer], max_seconds: float | None = None
    ) -> list[float | None]:
        begun = time.perf_counter()
        try:
            return self.reward.score(name, prompts, answers, RewardContext(), max_seconds)
        finally:
            self.seconds[name] += time.perf_counter() - begun

    def _failure(
        self, name: str, prompt: Prompt, candidates: Sequence[tuple[str, str]], error: FrameworkError
    ) -> Finding:
        """Return the finding about the made answer that a reward fails for."""
        failing, share = "", self.reward.max_seconds[name] / len(candidates)
        for kind, text in candidates:
            try:
                self._score(name, [prompt], [self._answer(kind, text)], share)
            except FrameworkError:
                failing = f" (the answer {text[:40]!r})" if text.strip() else " (an empty answer)"
                failing = f"{failing}, which is {'the reference' if kind == REFERENCE else 'made for this audit'}"
                break
        advice = "return a number for every text: a model may answer anything"
        return Finding(
            "reward_fails",
            Severity.serious,
            1,
            f"{redact(str(error))}{failing}",
            advice,
            [place_of(prompt)],
            fatal=True,
        )

    def _reward_findings(self) -> Iterator[Finding]:
        """Find rewards that are the same for all answers, and those that contradict each other."""
        prompts = self.prompts
        for name, items in self.items.items():
            scores = [item for item in items if item is not None]
            if not scores:
                text = f"reward={name} has no number for any of {len(items)} made answers to {prompts} prompts"
                advice = "it compares with references, and the prompts have none: add them, or choose another reward"
                if self.referenced or not getattr(self.reward.rewards[name], "needs_reference", False):
                    advice = "see what it reads, and when it returns None"
                yield Finding("reward_none", Severity.serious, prompts, text, advice, [], fatal=True)
                continue
            value, count = Counter(scores).most_common(1)[0]
            if not self.referenced and count >= NEARLY * len(scores):
                # None of them need be a good one, so that says little.
                text = (
                    f"reward={name} is {value:g} for {count} of {len(scores)} made answers, and no reference is known"
                )
                advice = "audit-rewards shows it on answers of the model"
                yield _finding("reward_constant", prompts, text, advice, Severity.note)
                continue
            if count == len(scores):
                text = f"reward={name} is {value:g} for all {len(scores)} made answers to {prompts} prompts"
                yield _finding("reward_constant", prompts, f"{text}, good and bad", CONSTANT_ADVICE)
            elif count >= NEARLY * len(scores):
                text = f"reward={name} is {value:g} for {count} of {len(scores)} made answers to {prompts} prompts"
                yield _finding("reward_constant", prompts, text, CONSTANT_ADVICE, Severity.warning)
            elif not any(_center(items, self.sizes)):
                text = f"reward={name} is the same for all made answers to each of {prompts} prompts, good and bad"
                advice = f"it reads the prompt only, so {CONSTANT_ADVICE}"
                yield _finding("reward_no_signal", prompts, text, advice)
        yield from contradictions(self.items)

    def _hack_findings(self, probes: Sequence[Probe], references: Sequence[str]) -> Iterator[Finding]:
        """Find bad answers with high rewards, and references with low ones."""
        varied_probes = [probe for probe in probes if probe.spread > TINY]
        if not varied_probes:
            return
        blind = [probe for probe in probes if probe.spread <= TINY and not probe.of(REFERENCE)]
        if blind:
            text = f"all made answers to {len(blind)} of {len(probes)} prompts have the same reward"
            advice = "see what it reads of these rows"
            yield _finding("reward_no_signal", len(blind), text, advice, Severity.warning, blind)
        chance = _chance_share([probe.prompt for probe in varied_probes])
        full = self._full_marks()
        for kind, (label, advice) in HACKS.items():
            judged = [
                (probe, level)
                for probe in varied_probes
                if (level := _good_reward(probe, full)) is not None and probe.of(kind)
            ]
            least = max(LEAST_WON, chance + LEAST_WON) * len(judged)
            won, _ = _prompts_won(kind, judged, 1 - NEAR)
            paid, form = _prompts_won(kind, judged, HALF, beyond_plain=True) if kind == WRONG else ([], 0)
            if judged and len(won) >= least:
                text = f"{label} get as much as good ones for {len(won)} of {len(judged)} prompts"
                yield _finding(f"reward_{kind}", len(won), text, advice, shown=won)
            elif judged and len(paid) >= least:
                shown = " ".join(FORMS[form].replace("{}", "…").split())
                text = (
                    f"the form {shown!r} is half or more of what a good answer gets, for {len(paid)} of {len(judged)} "
                )
                severity = (
                    Severity.serious
                    if len(_prompts_won(kind, judged, HALF + NEAR, beyond_plain=True)[0]) >= least
                    else (Severity.warning)
                )
                yield _finding("reward_wrong", len(paid), f"{text}prompts", advice, severity, paid)
            elif kind == LONG and 2 * len(longer := [probe for probe in varied_probes if _pays_length(probe)]) > len(
                varied_probes
            ):
                text = f"a wrong answer gets more if it is longer, for {len(longer)} of {len(varied_probes)} prompts"
                yield _finding("reward_long", len(longer), text, advice, Severity.warning, longer)
        reference_probes = [probe for probe in probes if probe.of(REFERENCE)]
        failing = [probe for probe in reference_probes if (probe.best(REFERENCE) or 0.0) <= probe.low + TINY]
        if reference_probes and len(failing) >= LEAST_FAILED * len(reference_probes) and references:
            text = (
                f"{len(failing)} of {len(reference_probes)} references get no more than the worst empty or wrong answer"
            )
            advice = "correct the references, or what the reward reads: try it on these rows"
            severity = Severity.serious if 2 * len(failing) >= len(reference_probes) else Severity.warning
            yield _finding("reward_reference", len(failing), text, advice, severity, failing)

    def _full_marks(self) -> float | None:
        """Return the highest possible sum, if all rewards lie between 0 and 1."""
        scores = [item for items in self.items.values() for item in items if item is not None]
        weights = self.reward.weights.values()
        return sum(weights) if scores and min(scores) >= 0 and max(scores) <= 1 and min(weights) > 0 else None

    def _slow_findings(self) -> Iterator[Finding]:
        seconds_by_name = {name: seconds / self.scored for name, seconds in self.seconds.items()} if self.scored else {}
        step = sum(seconds_by_name.values()) * self.step_answers
        if step > SLOW_STEP:
            name = max(seconds_by_name, key=seconds_by_name.__getitem__)
            milliseconds = 1000 * seconds_by_name[name]
            text = f"scoring takes about {step:.0f} s of each step, reward={name} {milliseconds:.0f} ms an answer"
            yield _finding("reward_slow", 0, text, "make it faster, or score fewer answers", Severity.warning)


def drawn(groups: Sequence[tuple[Prompt, Sequence[Answer]]], rewards: Rewards) -> list[Finding]:
    """Return the findings about the rewards on the model's answers; those to a prompt follow each other.

    Args:
        groups: prompts with their answers.
        rewards: of all answers, in their order.
    """
    totals: list[list[float]] = []
    start = 0
    for _, answers in groups:
        totals.append([total for total in rewards.total[start : start + len(answers)] if total is not None])
        start += len(answers)
    blind = [
        prompt
        for (prompt, answers), group in zip(groups, totals, strict=True)
        if len(answers) > 1 and (not group or max(group) - min(group) <= TINY)
    ]
    results: list[Finding] = []
    if blind:
        text = f"for {len(blind)} of {len(groups)} prompts all answers of the model have the same reward"
        advice = "these teach nothing: ask easier or harder ones, draw more answers, or raise the temperature"
        severity = Severity.warning if 2 * len(blind) >= len(groups) else Severity.note
        results.append(_finding("reward_no_signal", len(blind), text, advice, severity, map(Probe, blind)))
    lengths = [float(answer.tokens) for _, answers in groups for answer in answers]
    sizes = [len(answers) for _, answers in groups]
    if (paid := _correlation(_center(rewards.total, sizes), _center(lengths, sizes))) is not None and paid > PAID:
        text = f"longer answers of the model get more: the correlation of reward and length is {paid:.2f}"
        results.append(_finding("reward_long", len(groups), text, HACKS[LONG][1], Severity.warning))
    results += contradictions({name: _center(items, sizes) for name, items in rewards.items.items()})
    return results


def contradictions(items: Mapping[str, Sequence[float | None]]) -> Iterator[Finding]:
    """Find pairs of rewards with a negative correlation."""
    for left, right in itertools.combinations(items, 2):
        correlation = _correlation(items[left], items[right])
        if correlation is not None and correlation < OPPOSED:
            text = f"reward={left} and reward={right} contradict each other: their correlation is {correlation:.2f}"
            advice = "weigh what matters more, by `reward.NAME.weight`, or leave one of them out"
            yield _finding("reward_disagree", 0, text, advice, Severity.note)


def _finding(
    name: str,
    rows: int,
    text: str,
    advice: str,
    severity: Severity = Severity.serious,
    shown: Iterable[Probe] = (),
) -> Finding:
    examples = [str(redact(place_of(probe.prompt))) for probe in itertools.islice(shown, 5)]
    return Finding(name, severity, rows, text, advice, examples)


def spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Return an even sample of the prompts."""
    indices = dict.fromkeys(np.linspace(0, len(prompts) - 1, min(len(prompts), count)).astype(int).tolist())
    return [prompts[index] for index in indices] if len(prompts) else []


def _next_reference(index: int, prompts: Sequence[Prompt]) -> str | None:
    """Return the next reference that is not the prompt's own."""
    reference = _normalize(prompts[index].reference or "")
    after = [*prompts[index + 1 :], *prompts[:index]]
    return next(
        (
            prompt.reference
            for prompt in after
            if prompt.reference is not None and _normalize(prompt.reference) != reference
        ),
        None,
    )


def _normalize(text: str) -> str:
    return " ".join(text.casefold().split())


def _chance_share(prompts: Sequence[Prompt]) -> float:
    """Return the share of prompts that have the most frequent reference."""
    counts = Counter(_normalize(prompt.reference) for prompt in prompts if prompt.reference is not None)
    max_count = max(counts.values(), default=0)
    return max_count / len(prompts) if max_count > 1 else 0.0


def _good_reward(probe: Probe, full: float | None) -> float | None:
    """Return the reward of a good answer: of the reference, or full marks; None if it is unknown or the worst sum."""
    level = probe.best(REFERENCE)
    if level is None:
        level = full
    return level if level is not None and level > probe.low + TINY else None


def _prompts_won(
    kind: str, judged: Sequence[tuple[Probe, float]], share: float, *, beyond_plain: bool = False
) -> tuple[list[Probe], int]:
    """Return the prompts where a made answer of a kind wins, by its most successful form, and the form's number.

    A list wins only in both orders, see `made_answers`.

    Args:
        kind: of the made answers.
        judged: prompts, with the reward of a good answer to each.
        share: the part of the way from the worst to a good answer that wins.
        beyond_plain: whether it is measured from the first form, so that only what a form adds counts.
    """

    def wins(probe: Probe, level: float, form: int) -> bool:
        forms = probe.forms(kind)
        values = forms if kind == LIST else forms[form : form + 1]
        start = forms[0] if beyond_plain else probe.low
        if start is None or not values or any(value is None for value in values):
            return False
        return min(value or 0.0 for value in values) - start >= share * (level - probe.low) - TINY

    winners = [
        [probe for probe, level in judged if wins(probe, level, form)]
        for form in range(max((len(probe.forms(kind)) for probe, _ in judged), default=0))
    ]
    best = max(range(len(winners)), key=lambda form: len(winners[form]), default=0)
    return (winners[best] if winners else []), best


def _pays_length(probe: Probe) -> bool:
    lengths = probe.of(LONG)  # an answer may have no number
    return len(lengths) > 1 and lengths[-1] - lengths[0] > NEAR * probe.spread


def _center(values: Sequence[float | None], sizes: Sequence[int]) -> list[float | None]:
    """Return how far each value is from the mean of its group; None if all of a group are the same."""
    deviations: list[float | None] = []
    start = 0
    for size in sizes:
        group = values[start : start + size]
        scores = [value for value in group if value is not None]
        is_constant, mean = not scores or max(scores) - min(scores) <= TINY, sum(scores) / max(1, len(scores))
        deviations += [None if value is None or is_constant else value - mean for value in group]
        start += size
    return deviations


def _correlation(left: Sequence[float | None], right: Sequence[float | None]) -> float | None:
    """Return the correlation of the ranks, which a few extreme values do not decide; None for too few values."""
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    left_ranks, right_ranks = map(_ranks, np.array(pairs, float).reshape(-1, 2).T)
    if len(pairs) < LEAST_PAIRS or left_ranks.std() <= TINY or right_ranks.std() <= TINY:
        return None
    return float(np.corrcoef(left_ranks, right_ranks)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - counts / 2)[places]
    return ranks
