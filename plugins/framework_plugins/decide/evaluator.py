"""`evaluator=decide`: decisions on held-out rows, calibrated on some of them and measured on the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from framework import Selection
from framework.api import (
    Answered,
    AnyMetric,
    Data,
    EvalResult,
    Evaluator,
    Measure,
    MeasureKind,
    Model,
    Prompt,
    scoring,
)
from framework_plugins.decide import calibration
from framework_plugins.decide.config import PREFIX, DecideEvaluatorConfig
from framework_plugins.decide.scoring import Array, OptionScores, Places, score_options

SHOWN_LABELS, SHOWN_SAMPLES = 3, 20
"""Labels that are noted as weak, and rows whose decision is shown."""
FEW = 10
"""A label of fewer rows is not called weak."""


class Decide(Evaluator):
    """Accuracy, proper scores and calibration of decisions."""

    def __init__(self, config: DecideEvaluatorConfig) -> None:
        self.config = config

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt] | None:
        """It asks those of the data."""
        del form
        return ()

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        del metrics
        prompts = [prompt for prompt in data.prompts if prompt.reference in prompt.options]
        if not prompts:
            return EvalResult({}, notes=["decide: no held-out row has options and a label: set format=decide"])
        scores = score_options(model, prompts)
        right = scores.right([prompt.reference or "" for prompt in prompts])
        clusters = _clusters(scores, prompts, data.passages)
        fitted, measured = _split(clusters, self.config.calibration)
        found = Decisions(self.config, scores, right)
        found.fit(fitted, [clusters[at] for at in fitted])
        return found.result([prompts[number] for number in measured], measured, [clusters[at] for at in measured])


def _clusters(scores: OptionScores, prompts: Sequence[Prompt], passages: frozenset[int]) -> list[int]:
    """Number the rows so that similar ones have the same number."""
    best = scores.log_probs.argmax(1)
    answers = [_answered(prompt, prompt.options[at]) for prompt, at in zip(prompts, best, strict=True)]
    return scoring.clusters(answers, passages) or list(range(len(prompts)))


def _answered(prompt: Prompt, option: str) -> Answered:
    return Answered(scoring.question(prompt), option, prompt.reference, 1, True, None, prompt.where, prompt.cluster)  # noqa: FBT003 - the record of the API


def _split(clusters: Sequence[int], share: float) -> tuple[Places, Places]:
    """Return the rows that are fitted and those that are measured: the same for each model, clusters on one side."""
    sizes = Counter(clusters)
    order = sorted(sizes)
    random.Random(0).shuffle(order)  # noqa: S311 - a split, not a secret
    fitted, count = set[int](), 0
    for cluster in order:
        if count + sizes[cluster] <= share * len(clusters):
            fitted.add(cluster)
            count += sizes[cluster]
    chosen = np.array([cluster in fitted for cluster in clusters], bool)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


class Decisions:
    """The decisions of one model on held-out rows.

    Args:
        config: the promise.
        scores: of all rows.
        right: the number of the right option in each.
    """

    def __init__(self, config: DecideEvaluatorConfig, scores: OptionScores, right: Places) -> None:
        self.config = config
        self.scores = scores
        self.right = right
        self.temperature = 1.0
        self.threshold: float | None = None
        self.notes: list[str] = []

    def fit(self, rows: Places, clusters: Sequence[int]) -> None:
        """Fit the temperature and the threshold.

        The threshold is of the probabilities before the temperature, so that nothing of these rows is in what it ranks.
        Its bound is of independent rows: of each cluster of similar ones it reads the first.
        """
        settings = self.config
        log_probs, right = self.scores.log_probs[rows], self.right[rows]
        self.temperature = calibration.fit_temperature(log_probs, right)
        if len(rows) < calibration.LEAST_FITTED:
            self._note(f"the temperature stays 1: {len(rows)} rows are left to fit it, and it takes "
                       f"{calibration.LEAST_FITTED}")  # fmt: skip
        least = calibration.rows_needed(settings.max_error, settings.confidence)
        promise = f"at most {settings.max_error:.3g} wrong with {settings.confidence:.0%} confidence"
        _, first = np.unique(clusters, return_index=True)
        if len(first) < least:
            total = int(np.ceil(least / settings.calibration))
            self._note(
                f"{promise} cannot be promised by {len(first)} different rows: it takes {least} without an error, "
                f"{total} held-out rows with calibration={settings.calibration:.3g}"
            )
            return
        sure, correct = _sure(log_probs[first]), _correct(log_probs[first], right[first])
        self.threshold = calibration.promised_threshold(sure, correct, settings.max_error, settings.confidence)
        if self.threshold is None:
            self._note(f"{promise} is not shown for any threshold by {len(first)} rows: it passes on all of them")

    def result(self, prompts: Sequence[Prompt], rows: Places, clusters: Sequence[int]) -> EvalResult:
        """Measure other rows."""
        log_probs, right = self.scores.log_probs[rows], self.right[rows]
        correct = _correct(log_probs, right)
        shares = calibration.probabilities(log_probs, self.temperature)
        sure = shares.max(1)
        where = [prompt.where for prompt in prompts]
        shared = list(clusters) if len(set(clusters)) < len(clusters) else []

        def of_rows(items: Array, kind: MeasureKind, *, up: bool, unit: str = "") -> Measure:
            return Measure(
                float(items.mean()), items.tolist(), higher_is_better=up, unit=unit, kind=kind, where=where,
                clusters=shared, item="row",
            )  # fmt: skip

        constant = self._majority(prompts)
        accuracy = of_rows(correct, MeasureKind.content, up=True)
        low, high, chance = calibration.error_interval(sure, correct)
        error = calibration.calibration_error(sure, correct)
        best = log_probs.argmax(1)
        measures = {
            "accuracy": replace(
                accuracy,
                constant=constant,
                constant_items=[float(prompt.reference == constant) for prompt in prompts],
                answers=len({prompt.options[at] for prompt, at in zip(prompts, best, strict=True)}),
            ),
            "log_score": of_rows(
                calibration.log_scores(log_probs, right, self.temperature), MeasureKind.loss, up=True, unit="nats"
            ),
            "brier": of_rows(calibration.brier_scores(shares, right), MeasureKind.loss, up=False, unit="squares"),
            "ece": Measure(error, kind=MeasureKind.loss, stderr=(high - low) / 4, item="row"),
            "ece_by_chance": Measure(chance, kind=MeasureKind.loss, item="row"),
            "mass": of_rows(self.scores.mass[rows], MeasureKind.form, up=True),
            "temperature": Measure(self.temperature, kind=MeasureKind.change, unit="fitted"),
        }
        if self.threshold is not None:
            measures |= _promise(self.threshold, _sure(log_probs), correct)
        self._weak_labels(prompts, best)
        decided = [_answered(prompt, prompt.options[at]) for prompt, at in zip(prompts, best, strict=True)]
        named = {f"{PREFIX}{name}": measure for name, measure in measures.items()}
        samples = scoring.samples(decided[:SHOWN_SAMPLES], {f"{PREFIX}accuracy": accuracy})
        return EvalResult(named, samples, self.notes)

    def _majority(self, prompts: Sequence[Prompt]) -> str:
        return Counter(prompt.reference or "" for prompt in prompts).most_common(1)[0][0]

    def _weak_labels(self, prompts: Sequence[Prompt], best: Places) -> None:
        """Note the labels that are decided wrongly in most of their rows, and what they are taken for."""
        labels = Counter(prompt.reference or "" for prompt in prompts)
        pairs = Counter((prompt.reference or "", prompt.options[at]) for prompt, at in zip(prompts, best, strict=True))
        weak = [label for label, total in labels.items() if total >= FEW and 2 * pairs[label, label] < total]
        for label in sorted(weak, key=lambda label: pairs[label, label] / labels[label])[:SHOWN_LABELS]:
            taken = max(labels, key=lambda other: pairs[label, other] if other != label else -1)
            self._note(
                f"'{label}' is right in {pairs[label, label]} of {labels[label]} rows, and decided as '{taken}' in "
                f"{pairs[label, taken]}"
            )

    def _note(self, text: str) -> None:
        self.notes.append(f"decide: {text}")


def _promise(threshold: float, sure: Array, correct: Array) -> dict[str, Measure]:
    """Return the measures of the promise, on rows that its threshold was not fitted to."""
    answered = sure >= threshold
    wrong = float(1 - correct[answered].mean()) if answered.any() else 0.0
    form = MeasureKind.form
    return {
        "threshold": Measure(threshold, kind=MeasureKind.change, unit="fitted"),
        "answered": Measure(float(answered.mean()), higher_is_better=True, kind=form, item="row"),
        "wrong": Measure(wrong, kind=form, item="row"),
    }


def _sure(log_probs: Array) -> Array:
    """Return the probability of the decision in each row, as the model gives it."""
    return np.asarray(calibration.probabilities(log_probs).max(1))


def _correct(log_probs: Array, right: Places) -> Array:
    return np.asarray(log_probs.argmax(1) == right, float)
