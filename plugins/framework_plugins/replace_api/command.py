"""`python -m framework replace-api RUN_DIR`: the decision of a run again, with other terms or beside another run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace

from framework import FrameworkError
from framework.api import as_plain
from framework.api.program import CommandParser, read_run
from framework_plugins.replace_api.config import ReplaceApiCommandConfig
from framework_plugins.replace_api.decision import PAGE, Decision, headline, lines, read_decision
from framework_plugins.replace_api.verdict import Name, Terms, points

FAILED = 3
"""The exit code of a gate that does not open."""
MEANINGS = {
    "margin": "how many points worse is not worse, as a share: 0.05",
    "confidence": "of the interval and of the promise: 0.95",
    "max_error": "the share of worse answers that the router promises: 0.05",
    "input_price": "what the API takes for a million tokens of requests",
    "cached_price": "the same for those in its cache",
    "output_price": "the same for tokens of answers",
    "price_per_hour": "what the machine of the model costs for an hour",
}


class ReplaceApiCommand:
    """Makes the decision of a run again."""

    def __init__(self, config: ReplaceApiCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Read the decision, make it under the terms that are given, write and print it.

        Returns:
            0, or 3 with `--gate` unless the model is not worse.
        """
        parser = CommandParser("replace-api", ReplaceApiCommandConfig.__doc__)
        parser.add_argument("run_dir", metavar="RUN_DIR", help="a run of +experiment=replace_api")
        for name, meaning in MEANINGS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="NUMBER", help=meaning)
        parser.add_argument("--before", metavar="RUN_DIR", help="the run that the requests go to now: what changed")
        parser.add_argument("--gate", action="store_true", help="exit with 3 unless the model is not worse")
        parser.add_argument("--json", action="store_true", help="print the decision as JSON, without the requests")
        given = parser.read(arguments)
        folder = read_run(given.run_dir).folder
        decision = read_decision(folder)
        changes = {name: value for name in MEANINGS if (value := getattr(given, name)) is not None}
        decision = decision.under(checked(replace(decision.terms, **changes)))
        decision.write(folder)
        if given.json:
            plain = as_plain(decision)
            print(json.dumps({name: plain[name] for name in plain if name != "requests"}, indent=1))  # noqa: T201
        else:
            print(headline(decision), *lines(decision), *decision.bill.assumptions, folder / PAGE, sep="\n")  # noqa: T201
        if given.before:
            before = read_decision(read_run(given.before).folder)
            print(changed(before.under(decision.terms), decision))  # noqa: T201
        return FAILED if given.gate and decision.verdict.name is not Name.not_worse else 0


def checked(terms: Terms) -> Terms:
    """Return terms that make sense.

    Raises:
        FrameworkError: a share is not between 0 and 1, or a price is negative.
    """
    for term in fields(terms):
        value = getattr(terms, term.name)
        option = f"--{term.name.replace('_', '-')}"
        share = term.name in {"margin", "confidence", "max_error"}
        if value is not None and share and not 0 <= value < 1:
            raise FrameworkError(f"{option} {value:g}: give a share of at least 0 and below 1, such as 0.05")
        if value is not None and not share and value < 0:
            raise FrameworkError(f"{option} {value:g}: a price is not negative")
    if terms.confidence < 0.5:  # noqa: PLR2004 - less than a coin
        raise FrameworkError(f"--confidence {terms.confidence:g}: give at least 0.5")
    if terms.max_error == 0:
        raise FrameworkError("--max-error 0: no number of answers promises that none is worse; give 0.01 or more")
    return terms


def changed(before: Decision, now: Decision) -> str:
    """Say what changed since an earlier run, each by its own held-out requests."""
    earlier, verdict = before.verdict, now.verdict
    rise = verdict.model - earlier.model
    direction = "the same" if not rise else f"{points(abs(rise))} {'higher' if rise > 0 else 'lower'}"
    return (
        f"before: {earlier.name.value}, {before.metric} {earlier.model:.1%} of {earlier.requests} requests; "
        f"now: {verdict.name.value}, {now.metric} {verdict.model:.1%} of {verdict.requests}, {direction}"
    )
