"""Whether new texts, and how they are decided, differ from the held-out rows that a run was measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from framework import FrameworkError
from framework.api import EvalResult
from framework_plugins.decide.config import CONFIDENCE, PREFIX
from framework_plugins.decide.linear import is_installed

LEAST = 30
"""Texts on each side; fewer show no difference that matters."""
TESTS = 3
LEVEL = 0.05 / TESTS
"""Level of each test (Bonferroni)."""


@dataclass(frozen=True)
class Rows:
    """Texts that were decided.

    Attributes:
        texts: what the model was asked.
        options: what it decided.
        sure: the probability of each decision.
    """

    texts: Sequence[str]
    options: Sequence[str]
    sure: Sequence[float]

    @classmethod
    def held_out(cls, measured: EvalResult | None) -> Rows:
        """Return the rows that the run was measured on."""
        name = f"{PREFIX}{CONFIDENCE}"
        samples = [sample for sample in (measured.samples if measured else ()) if name in sample.scores]
        return cls(
            [sample.prompt for sample in samples],
            [sample.answer for sample in samples],
            [sample.scores[name] for sample in samples],
        )


def drift(earlier: Rows, new: Rows) -> Iterator[str]:
    """Give a line for each test: of the texts, the options, and the probabilities.

    The texts are compared by the area under the ROC curve of a linear model that learned to distinguish one half of
    both sides, on the other half (a classifier two-sample test: Lopez-Paz & Oquab 2017, arXiv 1610.06545).

    Raises:
        FrameworkError: too few texts, or scikit-learn is missing.
    """
    if min(len(earlier.texts), len(new.texts)) < LEAST:
        raise FrameworkError(
            f"--drift compares {LEAST} texts or more on each side, and there are {len(new.texts)} in --file and "
            f"{len(earlier.texts)} held-out rows that evaluator=decide measured"
        )
    if not is_installed():
        raise FrameworkError("--drift needs scikit-learn: pip install scikit-learn")
    from scipy.stats import chi2_contingency, mannwhitneyu  # noqa: PLC0415 - only if they are there
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - as above

    sides = np.repeat([0, 1], [len(earlier.texts), len(new.texts)])
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform([*earlier.texts, *new.texts])
    learned, asked, sides, answers = train_test_split(vectors, sides, test_size=0.5, random_state=0, stratify=sides)
    model = LogisticRegression(C=10, max_iter=5000, class_weight="balanced").fit(learned, sides)
    scores = model.decision_function(asked)
    test = mannwhitneyu(scores[answers == 1], scores[answers == 0], alternative="greater")
    area = test.statistic / ((answers == 1).sum() * (answers == 0).sum())
    yield _line("texts", test.pvalue, f"a linear model distinguishes them with an AUC of {area:.2f}, 0.50 is chance")

    counts = Counter(new.options), Counter(earlier.options)
    names = sorted({*new.options, *earlier.options})
    p_value = 1.0
    if len(names) > 1:
        p_value = chi2_contingency([[side[name] for name in names] for side in counts]).pvalue
    shares = {name: (counts[0][name] / len(new.options), counts[1][name] / len(earlier.options)) for name in names}
    most = max(names, key=lambda name: abs(shares[name][0] - shares[name][1]))
    yield _line("options", p_value, f"'{most}' is {shares[most][0]:.0%}, of the held-out rows {shares[most][1]:.0%}")

    now, before = np.mean(new.sure), np.mean(earlier.sure)
    p_value = mannwhitneyu(new.sure, earlier.sure).pvalue
    yield _line("probabilities", p_value, f"their mean is {now:.3f}, of the held-out rows {before:.3f}")


def _line(name: str, p_value: float, text: str) -> str:
    return f"{name}: {'drift' if p_value <= LEVEL else 'no drift shown'}, {text} (p = {p_value:.2g})"
