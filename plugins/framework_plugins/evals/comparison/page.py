"""The page of a comparison: one file that loads nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from framework.api import visible
from framework.api.program import Comparison
from framework_plugins.evals.comparison.pairing import Compared, Figures
from framework_plugins.evals.comparison.shown import Row, about, heading, headline, rows, why

TEMPLATE = "compare.html.jinja"
LEFT, RIGHT = 10.0, 310.0
"""Ends of the scale of an interval, in the units of its drawing."""


def render(result: Compared, failing: Sequence[Comparison]) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["visible"] = lambda text: visible(text, " ")
    source = files("framework_plugins.evals.comparison").joinpath(TEMPLATE).read_text(encoding="utf-8")
    css = source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"
    page: str = environment.from_string(source).render(
        policy=Markup(policy),  # noqa: S704 - a hash
        systems=result.systems,
        lines=headline(result),
        heading=heading(result),
        measures=[(about(figures), list(_rows(result, figures))) for figures in result.measures],
        why=why(result),
        notes=result.notes,
        failing=[f"{comparison.other} − {comparison.one} in {comparison.measure}" for comparison in failing],
        middle=(LEFT + RIGHT) / 2,
    )
    return page


def _rows(result: Compared, figures: Figures) -> Iterator[tuple[Row, tuple[float, float, float] | None]]:
    """Give the lines of a measure, each with the places of its interval and of its difference."""
    changes = [comparison.change for comparison in result.comparisons if comparison.measure == figures.name]
    reach = max((abs(bound) for change in changes for bound in (change.low, change.high) if bound), default=1.0)
    for row in rows(result, figures):
        change = row.change
        if change is None or change.low is None or change.high is None or None in {change.before, change.after}:
            yield row, None
        else:
            middle = (change.after or 0.0) - (change.before or 0.0)
            low, at, high = (
                (LEFT + RIGHT) / 2 + (RIGHT - LEFT) / 2 * value / reach for value in (change.low, middle, change.high)
            )
            yield row, (low, at, high)
