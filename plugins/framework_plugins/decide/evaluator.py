"""`evaluator=decide`: decisions on held-out rows, calibrated on some of them and measured on the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from framework_plugins.decide import calibration, linear, tables
from framework_plugins.decide.config import CONFIDENCE, PREFIX, DecideEvaluatorConfig, DecideFormatConfig
from framework_plugins.decide.scoring import Array, OptionScores, Places, score_options
from framework_plugins.lib.promise import answers_needed, safe_threshold

SHOWN_LABELS, SAMPLES = 3, 2000
"""Labels that are noted as weak, and rows whose decision is kept."""
FEW = 10
"""A label of fewer rows is not called weak."""


class Decide(Evaluator):
    """Accuracy, proper scores and calibration of decisions."""

    def __init__(self, config: DecideEvaluatorConfig) -> None:
        self.config = config
        self._linear: tuple[int, Array | None] | None = None

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
        form = data.format.config if data.format else None
        scale = isinstance(form, DecideFormatConfig) and form.scale
        decisions = Decisions(self.config, scores, right, scale=scale, linear=self._linear_scores(data, prompts))
        decisions.fit(fitted, [clusters[at] for at in fitted])
        return decisions.result([prompts[number] for number in measured], measured, [clusters[at] for at in measured])

    def _linear_scores(self, data: Data, prompts: Sequence[Prompt]) -> Array | None:
        """Return what a linear model gives; the base and the trained model are compared with the same one."""
        key = hash((len(data.train_prompts), *(prompt.messages for prompt in prompts)))
        if self._linear is None or self._linear[0] != key:
            self._linear = key, linear.linear_scores(data.train_prompts, prompts)
        return self._linear[1]


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
        scale: whether the options are a scale, in their order.
        linear: the log-probabilities of the options by a linear model; None if there is none.
    """

    def __init__(
        self,
        config: DecideEvaluatorConfig,
        scores: OptionScores,
        right: Places,
        *,
        scale: bool = False,
        linear: Array | None = None,
    ) -> None:
        self.config = config
        self.scores = scores
        self.right = right
        self.scale = scale
        self.linear = linear
        self.temperature = self.linear_temperature = 1.0
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
        if self.linear is not None:
            self.linear_temperature = calibration.fit_temperature(self.linear[rows], right)
        if len(rows) < calibration.LEAST_FITTED:
            self._note(f"the temperature stays 1: {len(rows)} rows are left to fit it, and it takes "
                       f"{calibration.LEAST_FITTED}")  # fmt: skip
        least = answers_needed(settings.max_error, settings.confidence)
        promise = f"at most {settings.max_error:.3g} wrong with {settings.confidence:.0%} confidence"
        _, first = np.unique(clusters, return_index=True)
        if len(first) < least:
            total = int(np.ceil(least / settings.calibration))
            self._note(
                f"{promise} cannot be promised by {len(first)} different rows: it takes {least} without an error, "
                f"{total} held-out rows with calibration={settings.calibration:.3g}"
            )
            return
        sure, wrong = _sure(log_probs[first]), _correct(log_probs[first], right[first]) == 0
        self.threshold = safe_threshold(sure, wrong, settings.max_error, settings.confidence)
        if self.threshold is None:
            self._note(f"{promise} is not shown for any threshold by {len(first)} rows: it passes on all of them")

    def result(self, prompts: Sequence[Prompt], rows: Places, clusters: Sequence[int]) -> EvalResult:
        """Measure other rows."""
        log_probs, right = self.scores.log_probs[rows], self.right[rows]
        correct = _correct(log_probs, right)
        sure = calibration.probabilities(log_probs, self.temperature).max(1)
        where = [prompt.where for prompt in prompts]
        shared = list(clusters) if len(set(clusters)) < len(clusters) else []

        def of_rows(score: Scored, kind: MeasureKind, *, up: bool, unit: str = "", **controls: Any) -> Measure:
            items = score(log_probs, right, self.temperature)
            if self.linear is not None:
                rival = score(self.linear[rows], right, self.linear_temperature)
                controls |= {"rival": linear.NAME, "rival_items": rival.tolist()}
            return Measure(
                float(items.mean()), items.tolist(), higher_is_better=up, unit=unit, kind=kind, where=where,
                clusters=shared, item="row", **controls,
            )  # fmt: skip

        decided = [prompt.options[at] for prompt, at in zip(prompts, log_probs.argmax(1), strict=True)]
        labels = [prompt.reference or "" for prompt in prompts]
        constant = Counter(labels).most_common(1)[0][0]
        low, high, chance = calibration.error_interval(sure, correct)
        error = calibration.calibration_error(sure, correct)
        loss = MeasureKind.loss
        measures = {
            "accuracy": of_rows(
                _accuracy, MeasureKind.content, up=True, constant=constant, answers=len({*decided}),
                constant_items=[float(label == constant) for label in labels],
            ),
            "log_score": of_rows(calibration.log_scores, loss, up=True, unit="nats"),
            "brier": of_rows(_brier, loss, up=False, unit="squares"),
            "ece": Measure(error, kind=loss, stderr=(high - low) / 4, item="row"),
            "ece_by_chance": Measure(chance, kind=loss, item="row"),
            "mass": Measure(
                float(self.scores.mass[rows].mean()), self.scores.mass[rows].tolist(), higher_is_better=True,
                kind=MeasureKind.form, where=where, clusters=shared, item="row",
            ),
            CONFIDENCE: Measure(float(sure.mean()), sure.tolist(), kind=MeasureKind.change, where=where, item="row"),
            "temperature": Measure(self.temperature, kind=MeasureKind.change, unit="fitted"),
        }  # fmt: skip
        if self.scale:
            measures |= {
                "distance": of_rows(_distances, MeasureKind.form, up=False, unit="places"),
                "ranked": of_rows(_ranked, loss, up=False, unit="squares"),
            }
        if self.threshold is not None:
            measures |= _promise(self.threshold, _sure(log_probs), correct)
        if not linear.is_installed():
            self._note("no linear model is compared: pip install scikit-learn")
        self._note_weak_labels(labels, decided)
        answered = [_answered(prompt, option) for prompt, option in zip(prompts, decided, strict=True)]
        return EvalResult(
            {f"{PREFIX}{name}": measure for name, measure in measures.items()},
            scoring.samples(
                answered[:SAMPLES], {f"{PREFIX}{name}": measures[name] for name in ("accuracy", CONFIDENCE)}
            ),
            self.notes,
            tables=[
                tables.reliability_table(sure, correct, error, chance),
                tables.label_table(labels, decided),
                tables.confusion_table(prompts, decided, sure),
            ],
        )

    def _note_weak_labels(self, labels: Sequence[str], decided: Sequence[str]) -> None:
        """Note the labels that are decided wrongly in most of their rows, and what they are taken for."""
        rows, pairs = Counter(labels), Counter(zip(labels, decided, strict=True))
        weak = [label for label, total in rows.items() if total >= FEW and 2 * pairs[label, label] < total]
        for label in sorted(weak, key=lambda label: pairs[label, label] / rows[label])[:SHOWN_LABELS]:
            taken, times = max(
                ((other, times) for (right, other), times in pairs.items() if right == label != other),
                key=lambda pair: pair[1],
            )
            self._note(
                f"'{label}' is right in {pairs[label, label]} of {rows[label]} rows, and decided as '{taken}' in "
                f"{times}"
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


# What is scored of each row: (log-probabilities, right options, temperature) -> scores.
Scored = Callable[[Array, Places, float], Array]


def _accuracy(log_probs: Array, right: Places, _: float) -> Array:
    return _correct(log_probs, right)


def _brier(log_probs: Array, right: Places, temperature: float) -> Array:
    return calibration.brier_scores(calibration.probabilities(log_probs, temperature), right)


def _ranked(log_probs: Array, right: Places, temperature: float) -> Array:
    return calibration.ranked_scores(calibration.probabilities(log_probs, temperature), right)


def _distances(log_probs: Array, right: Places, _: float) -> Array:
    return np.asarray(np.abs(log_probs.argmax(1) - right), float)
