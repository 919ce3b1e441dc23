"""How much of what training changed is left in a quantized file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framework_plugins.exports.parity.agreement import Logits, log_softmax
from framework_plugins.exports.parity.check_rows import CheckRow


def change_retained(
    rows: Sequence[CheckRow], base: Sequence[Logits], trained: Sequence[Logits], export: Sequence[Logits]
) -> tuple[float, float] | None:
    r"""Return the share of the change from the base to the trained model that an export has, and its standard error.

    At each position that says a token of an answer, or ends one, with log-probabilities b of the base, t of the trained
    model and x of the export, d = t - b is what training changed and e = x - b what the export has of it. The share is
    the slope of e by d through 0, over all positions i:

        share = sum_i <e_i, d_i> / sum_i <d_i, d_i>,   <e, d> = sum_v w_v (e_v - mean_w e) (d_v - mean_w d)

    with the weights w_v = (p_base(v) + p_trained(v)) / 2 of a token v, and mean_w the mean by them. The means are taken
    off because only differences between tokens say anything: so log-probabilities and logits give the same, and a
    token that both models are sure of counts nothing. It is a matter of log-odds and not of probabilities, which half
    of an adapter often brings near to 1 already.

    1: the whole change, 0: the base, 0.5 about: an adapter at half of its scale. What quantizing does to the weights of
    the base is a part of e too. It is noise in the response of a regression, which leaves the slope as it is on average
    and makes it uncertain; b and t are not quantized, so there is no noise in d, which would lower the slope. The
    uncertainty is the standard error of a jackknife that leaves one row out at a time.

    Args:
        rows: what all were given; a long one has no answer, and nothing is given of it.
        base: logits of each row from the last token of its prompt on, (tokens, vocabulary), see `answer_logits`.
        trained: the same of the trained model; it may have added tokens, which are left out.
        export: the same of the export.

    Returns:
        None if nothing was changed, or there are fewer than two rows with an answer.
    """
    short = [row for row in rows if not row.last]
    parts = [_products(*four) for four in zip(short, base, trained, export, strict=True)]
    shared, changed = np.array([part for part in parts if part[1] > 0], dtype=np.float64).reshape(-1, 2).T
    if len(changed) < 2:  # noqa: PLR2004 - of one row nothing can be left out
        return None
    estimates = (shared.sum() - shared) / (changed.sum() - changed)
    error = np.sqrt((len(estimates) - 1) / len(estimates) * ((estimates - estimates.mean()) ** 2).sum())
    return float(shared.sum() / changed.sum()), float(error)


def rounding_size(
    rows: Sequence[CheckRow],
    base: Sequence[Logits],
    trained: Sequence[Logits],
    source: Sequence[Logits],
    export: Sequence[Logits],
) -> float:
    """Return how much a quantization changes, as a multiple of what training changed.

    With n = x - s, the difference between an export and the weights that it is made from, it is the root of
    sum_i <n_i, n_i> / sum_i <d_i, d_i>. The share of an export of these weights differs from theirs by at most that:
    rounding to the same few values shifts the answers of all rows in the same way, and leaving out a row does not show
    that.

    Args:
        rows: see `change_retained`, with `base`, `trained` and `export`.
        base: see there.
        trained: see there.
        source: logits of the weights that the export is made from. They may be wrong, and the export with them.
        export: see there.
    """
    short = [row for row in rows if not row.last]
    changed = sum(_products(*some)[1] for some in zip(short, base, trained, trained, strict=True))
    rounded = sum(_rounding(*some) for some in zip(short, base, trained, source, export, strict=True))
    return float(np.sqrt(rounded / changed)) if changed > 0 else 0.0


def answer_logits(row: CheckRow, logits: Logits) -> Logits:
    """Return a copy of the logits that predict an answer and its end."""
    return logits[len(row.prompt) - 1 :].copy()


def _products(row: CheckRow, base: Logits, trained: Logits, export: Logits) -> tuple[float, float]:
    """Return <e, d> and <d, d> of a row; where its answer does not end by itself, its last position says nothing."""
    b, t, x = _log_probabilities(row, base, trained, export)
    weights = (np.exp(b) + np.exp(t)) / 2
    d, e = (_centered(weights, array) for array in (t - b, x - b))
    return float((weights * e * d).sum()), float((weights * d * d).sum())


def _rounding(row: CheckRow, base: Logits, trained: Logits, source: Logits, export: Logits) -> float:
    """Return <n, n> of a row."""
    b, t, s, x = _log_probabilities(row, base, trained, source, export)
    weights = (np.exp(b) + np.exp(t)) / 2
    return float((weights * np.square(_centered(weights, x - s))).sum())


def _log_probabilities(row: CheckRow, *models: Logits) -> list[Logits]:
    count, width = len(row.answer) + row.stopped, min(logits.shape[1] for logits in models)
    return [log_softmax(logits[:count, :width]) for logits in models]


def _centered(weights: NDArray[Any], differences: NDArray[Any]) -> NDArray[Any]:
    centered: NDArray[Any] = differences - (weights * differences).sum(-1, keepdims=True)
    return centered
