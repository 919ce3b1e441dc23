"""TF-IDF and a logistic regression: what a linear model of words learns from the same rows.

It often decides as well as a language model, at a thousandth of the cost, so each run is compared with it.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from framework.api import Prompt
from framework_plugins.decide.scoring import Array

NAME = "TF-IDF with logistic regression"
LEAST, MOST = 20, 20_000
"""Training rows: of fewer nothing is learned, and of more the first ones are enough."""
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Values of C that five folds choose from."""
COMMON = 0.95
"""A word of a larger share of the texts belongs to the question around them."""


def is_installed() -> bool:
    """Whether scikit-learn is."""
    return importlib.util.find_spec("sklearn") is not None


def text_of(prompt: Prompt) -> str:
    """Return what a prompt asks."""
    return prompt.messages[-1].content


def linear_scores(train: Sequence[Prompt], prompts: Sequence[Prompt]) -> Array | None:
    """Return the log-probability of each option of other prompts, (prompts, options).

    None if the options of the prompts differ, if too few rows are there, or if scikit-learn is not.
    """
    rows = [prompt for prompt in itertools.islice(train, MOST) if prompt.reference in prompt.options]
    options = prompts[0].options
    same = all(prompt.options == options for prompt in (*rows, *prompts))
    labels = Counter(prompt.reference for prompt in rows)
    if not same or len(rows) < LEAST or len(labels) == 1 or not is_installed():
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - only if it is there
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from sklearn.model_selection import GridSearchCV, KFold  # noqa: PLC0415 - as above

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_df=COMMON)
    try:
        vectors = words.fit_transform(map(text_of, rows))
    except ValueError:  # of texts without a word
        return None
    folds = KFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(LogisticRegression(max_iter=5000), {"C": STRENGTHS}, cv=folds)
    search.fit(vectors, [options.index(prompt.reference or "") for prompt in rows])
    shares = np.zeros((len(prompts), len(options)))
    shares[:, search.best_estimator_.classes_] = search.predict_proba(words.transform(map(text_of, prompts)))
    # An option that no row has is not impossible.
    return np.asarray(np.log((shares * len(rows) + 1 / len(options)) / (len(rows) + 1)))
