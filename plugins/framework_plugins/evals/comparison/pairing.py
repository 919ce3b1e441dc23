"""Evaluations put side by side, item by item. What cannot be paired is refused, with the first item and what helps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from framework import FrameworkError
from framework.api import Answered, Change, Measure, Outcome, count, scoring, unknown
from framework.api.program import Comparison, VerdictConfig, compare_systems
from framework_plugins.evals.comparison.evaluations import Evaluation, Scores, measured
from framework_plugins.evals.harness.figures import Items

NO_CLUSTERS = "none"
"""The value of `--cluster` that takes all items for independent."""
MOST_CLUSTERED = 20_000
"""Items whose texts are compared with each other: 7 seconds of one core."""
SHOWN = 8
"""Names that a message lists."""


@dataclass(frozen=True)
class Choices:
    """What the user chose: the arguments of the command."""

    metrics: Sequence[str] = ()
    higher: Sequence[str] = ()
    lower: Sequence[str] = ()
    cluster: str = ""
    common: bool = False
    all_pairs: bool = False
    confidence: float = 0.95
    margin: float | None = None


Notes = dict[str, list[str]]
"""What is to know, and the measures that it is about; none if it is about all."""


@dataclass(frozen=True)
class Figures:
    """One measure: what each system prints itself, by letter, and what is compared."""

    name: str
    items: int
    clusters: int
    printed: Mapping[str, str]
    values: Mapping[str, float]
    missing: Mapping[str, int]
    higher_is_better: bool


@dataclass(frozen=True)
class Compared:
    """What is shown: the systems by letter, the measures, each comparison, and what to know about them.

    `unpaired` has, by measure and pair, the p-value that the tools' own standard errors would give.
    """

    systems: Mapping[str, Evaluation]
    measures: Sequence[Figures]
    comparisons: Sequence[Comparison]
    unpaired: Mapping[tuple[str, str, str], float]
    notes: Sequence[str]
    choices: Choices = field(default_factory=Choices)


def letters(total: int) -> list[str]:
    """Return a name for each system: A to Z, then A2 and so on."""
    return [chr(65 + place % 26) + (str(place // 26 + 1) if place >= 26 else "") for place in range(total)]  # noqa: PLR2004 - letters


def compared(evaluations: Sequence[Evaluation], choices: Choices) -> Compared:
    """Compare each evaluation with the first one, or all with each other.

    Raises:
        FrameworkError: they are not of the same items, share no measure, or the direction of one is not known.
    """
    systems = dict(zip(letters(len(evaluations)), evaluations, strict=True))
    notes = _notes(systems)
    _check_versions(systems)
    names = _names(systems, choices, notes)
    directions = _directions(systems, names, choices)
    paired = {name: _paired(systems, name, up=directions[name], choices=choices, notes=notes) for name in names}
    measures = {name: sides for name, sides in paired.items() if _can_show(name, sides, notes)}
    if not measures:
        text, names = notes.popitem()
        raise FrameworkError(f"{', '.join(names)}: {text}")
    config = VerdictConfig(confidence=choices.confidence)
    config = config if choices.margin is None else replace(config, margin=choices.margin)
    found = compare_systems(
        {letter: {name: sides[letter] for name, sides in measures.items()} for letter in systems},
        config,
        against="" if choices.all_pairs else "A",
        candidates={name: max(one.measures[name].candidates for one in systems.values()) for name in measures},
    )
    return Compared(
        systems,
        [_figures(name, systems, sides) for name, sides in measures.items()],
        found,
        _unpaired(systems, found),
        [f"{', '.join(names)}: {text}" if names else text for text, names in notes.items()],
        choices,
    )


def _notes(systems: Mapping[str, Evaluation]) -> Notes:
    """Return what the evaluations say, each once, with the letters of those that say it."""
    told = {
        note: [letter for letter, one in systems.items() if note in one.notes]
        for each in systems.values()
        for note in each.notes
    }
    return {note if len(said) == len(systems) else f"{', '.join(said)}: {note}": [] for note, said in told.items()}


def _check_versions(systems: Mapping[str, Evaluation]) -> None:
    first = systems["A"]
    for letter, other in systems.items():
        for name in first.versions.keys() & other.versions.keys():
            ours, theirs = first.versions[name], other.versions[name]
            if ours and theirs and ours != theirs and first.tool == other.tool:
                raise FrameworkError(
                    f"{name} has version {ours} in A ({first.place}) and {theirs} in {letter} ({other.place}), so the "
                    "figures are not of one thing: evaluate both with one version"
                )


def _names(systems: Mapping[str, Evaluation], choices: Choices, notes: Notes) -> list[str]:
    """Return the measures that are compared: those that all systems have, or those that were named."""
    sides = [one.measures for one in systems.values()]
    everywhere = [name for name in sides[0] if all(name in side for side in sides)]
    for name in choices.metrics:
        if name not in everywhere:
            lacking = [letter for letter, one in systems.items() if name not in one.measures]
            known = dict.fromkeys(everywhere or [each for side in sides for each in side])
            raise FrameworkError(f"--metric {name} is not in {', '.join(lacking)}: {unknown('metric', name, known)}")
    if not everywhere:
        have = "; ".join(
            f"{letter} has {', '.join([*one.measures][:SHOWN]) or 'none'}" for letter, one in systems.items()
        )
        raise FrameworkError(f"no measure is in all of them: {have}")
    rest = [name for side in sides for name in side if name not in everywhere]
    if rest and not choices.metrics:
        notes[f"not compared: {', '.join(dict.fromkeys(rest))}; not in all of them"] = []
    if choices.metrics:
        return [*dict.fromkeys(choices.metrics)]
    parts = {name: group for name in everywhere if (group := sides[0][name].part_of)}
    if parts:
        groups = ", ".join(dict.fromkeys(parts.values()))
        text = f"not compared: {count(len(parts), 'measure')} of the tasks in {groups}, unless --metric names them"
        notes[text] = []
    return [name for name in everywhere if name not in parts]


def _directions(systems: Mapping[str, Evaluation], names: Sequence[str], choices: Choices) -> dict[str, bool]:
    for option, given in (("--higher-is-better", choices.higher), ("--lower-is-better", choices.lower)):
        for name in given:
            if name not in names:
                raise FrameworkError(f"{option}: {unknown('metric', name, names)}")
    found: dict[str, bool] = {}
    for name in names:
        told = {one.measures[name].higher_is_better for one in systems.values()} - {None}
        chosen = {up for up, those in ((True, choices.higher), (False, choices.lower)) if name in those}
        ways = chosen or told
        if len(ways) != 1:
            what = "nothing says" if not ways else "the evaluations do not agree"
            raise FrameworkError(
                f"{name}: {what} whether a higher value is better. Add --higher-is-better {name} or "
                f"--lower-is-better {name}, or choose other measures with --metric"
            )
        found[name] = ways == {True}
    return found


def _paired(
    systems: Mapping[str, Evaluation], name: str, *, up: bool, choices: Choices, notes: Notes
) -> dict[str, Measure]:
    """Return the measure of each system over the same items in the same order."""
    first = systems["A"]
    keys = list(first.measures[name].keys)
    for letter, other in systems.items():
        theirs = {*other.measures[name].keys}
        if {*keys} != theirs and not choices.common and not _looked(systems, name):
            raise _other_items(name, keys, letter, theirs, first.place, other.place)
        keys = [key for key in keys if key in theirs]
    left_out = max(len(one.measures[name].keys) for one in systems.values()) - len(keys)
    if left_out and _looked(systems, name) and not choices.common:
        asked = ", ".join(f"{len(one.measures[name].keys)} of {letter}" for letter, one in systems.items())
        text = (
            f"a run asks no more prompts once they decide its verdict: {asked} were asked. The {len(keys)} that all "
            "were asked are compared, and the rest is left out; --ask asks it too"
        )
        notes.setdefault(text, []).append(name)
    elif left_out:
        notes.setdefault(f"{left_out} of the items are not in all of them, and are left out", []).append(name)
    for letter in systems:
        _check_content(name, keys, systems, letter)
    if len({one.tool for one in systems.values()}) > 1:
        notes["the items of different tools are paired by their names only: their prompts are not compared"] = []
    elif not all(one.items[key].content for one in systems.values() for key in keys):
        text = "the items are paired by their names only, because the files do not say what was asked"
        notes.setdefault(text, []).append(name)
    clusters = _clusters(first, name, keys, choices, notes)
    return {letter: _ordered(one.measures[name], keys, clusters, up=up) for letter, one in systems.items()}


def _looked(systems: Mapping[str, Evaluation], name: str) -> bool:
    """Whether these are runs that asked in stages, so that some were asked only the first of the same prompts."""
    measures = [one.measures[name] for one in systems.values()]
    nested = sorted((one.keys for one in measures), key=len)
    return all(one.tool == "run" for one in systems.values()) and (
        any(one.measure.look_share < 1 for one in measures)
        and all({*few} <= {*more} for few, more in itertools.pairwise(nested))
    )


def _can_show(name: str, sides: Mapping[str, Measure], notes: Notes) -> bool:
    """Whether there are several items, and they count the same in all systems; those of a loss have their tokens."""
    items = len(sides["A"].items)
    if items < 2:  # noqa: PLR2004 - a variance takes two
        text = f"not compared, {count(items, 'item')} in common cannot show anything: six are the least"
        notes.setdefault(text, []).append(name)
        return False
    if len({tuple(measure.weights) for measure in sides.values()}) > 1:
        text = "not compared, because the items have other numbers of tokens in each, which are their weights"
        notes.setdefault(text, []).append(name)
        return False
    return True


def _other_items(
    name: str, keys: Sequence[str], letter: str, theirs: set[str], place: str, other: str
) -> FrameworkError:
    missing = [key for key in keys if key not in theirs]
    more = sorted(theirs - {*keys})
    parts = []
    if missing:
        parts.append(
            f"{len(missing)} of the {count(len(keys), 'item')} in A ({place}) are not in {letter} ({other}), "
            f"first {missing[0]}"
        )
    if more:
        parts.append(f"{len(more)} in {letter} ({other}) are not in A, first {more[0]}")
    both = len(keys) - len(missing)
    helps = f"--common compares the {both} that all have" if both > 1 else "they are evaluations of other things"
    return FrameworkError(f"{name}: {'; '.join(parts)}: {helps}")


def _check_content(name: str, keys: Sequence[str], systems: Mapping[str, Evaluation], letter: str) -> None:
    first, other = systems["A"], systems[letter]
    if first.tool != other.tool:
        return
    differing = [
        key
        for key in keys
        if (ours := first.items[key].content) and (theirs := other.items[key].content) and ours != theirs
    ]
    if differing:
        raise FrameworkError(
            f"{name}: {len(differing)} of {count(len(keys), 'item')} have one name and different contents in A "
            f"({first.place}) and {letter} ({other.place}), first {differing[0]}: the prompts or the data are not the "
            "same, so they cannot be paired"
        )


def _clusters(first: Evaluation, name: str, keys: Sequence[str], choices: Choices, notes: Notes) -> list[int]:
    """Return a number for each item, the same for dependent ones; empty if all are independent."""
    if choices.cluster == NO_CLUSTERS:
        return []
    scores = first.measures[name]
    if first.clustered:
        if choices.cluster:
            raise FrameworkError(
                f"--cluster {choices.cluster}: a run knows which of its prompts are dependent, by format.cluster; only "
                f"--cluster {NO_CLUSTERS} is possible"
            )
        known = dict(zip(scores.keys, scores.measure.clusters or range(len(scores.keys)), strict=True))
        return [known[key] for key in keys] if scores.measure.clusters else []
    items = [first.items[key] for key in keys]
    if all(item.text for item in items) and len(items) <= MOST_CLUSTERED:
        return scoring.clusters(
            [Answered(item.text, "", item.reference or None, 0, stopped=True, cluster=item.cluster) for item in items]
        )
    if not any(item.cluster for item in items):
        why = "too many to compare their texts" if first.items[keys[0]].text else "their texts are not known"
        notes.setdefault(
            f"all items count as independent, {why}: --cluster FIELD names what some of them share", []
        ).append(name)
    numbers: dict[str | int, int] = {}
    labels = [numbers.setdefault(item.cluster or place, len(numbers)) for place, item in enumerate(items)]
    return labels if len(numbers) < len(labels) else []


def _ordered(scores: Scores, keys: Sequence[str], clusters: list[int], *, up: bool) -> Measure:
    """Return a measure over these items in this order."""
    measure = scores.measure
    places = {key: place for place, key in enumerate(scores.keys)}
    order = [places[key] for key in keys]
    items = [measure.items[place] for place in order]
    if scores.higher_is_better is None:
        measure = measured(items, higher_is_better=up)
    weights = [measure.weights[place] for place in order] if measure.weights else []
    known = [place for place, item in enumerate(items) if item is not None and (not weights or weights[place])]
    value = math.nan
    if known:
        values = [items[place] or 0.0 for place in known]
        value = Items(values, [weights[place] for place in known] if weights else [], measure.exponential).figure
    return replace(
        measure, value=value, items=items, weights=weights, clusters=clusters, higher_is_better=up,
        where=[], content=[], constant_items=[],
    )  # fmt: skip


def _figures(name: str, systems: Mapping[str, Evaluation], measures: Mapping[str, Measure]) -> Figures:
    first = measures["A"]
    return Figures(
        name,
        len(first.items),
        len({*first.clusters}),
        {letter: one.measures[name].printed for letter, one in systems.items()},
        {letter: measure.value for letter, measure in measures.items()},
        {letter: measure.items.count(None) for letter, measure in measures.items()},
        first.higher_is_better,
    )


def _unpaired(systems: Mapping[str, Evaluation], found: Sequence[Comparison]) -> dict[tuple[str, str, str], float]:
    """Return the p-values of the z-test that takes the tools' own figures for those of independent samples."""
    values = {}
    for one in found:
        sides = [systems[letter].measures[one.measure] for letter in (one.one, one.other)]
        errors = [side.error for side in sides]
        if None in errors or any(side.measure.exponential for side in sides):
            continue
        spread = math.hypot(*(error or 0.0 for error in errors))
        if spread:
            z = (sides[1].measure.value - sides[0].measure.value) / spread
            values[one.measure, one.one, one.other] = 2 * NormalDist().cdf(-abs(z))
    return values


def failing(found: Compared, fail_on: str) -> list[Comparison]:
    """Return the comparisons that `--fail-on` names.

    `worse`: significantly worse; with a margin only if a loss of more than the margin is not ruled out. `undecided`:
    whatever does not rule out a loss of more than the margin.
    """
    return [one for one in found.comparisons if fail_on and _fails(one.change, fail_on, found.choices.margin)]


def _fails(change: Change, fail_on: str, margin: float | None) -> bool:
    fall = change.high if not change.higher_is_better else None if change.low is None else -change.low
    ruled_out = fall is not None and fall <= (change.margin or 0.0)
    if fail_on == "undecided":
        return not ruled_out and change.outcome is not None and change.outcome is not Outcome.better
    return change.outcome is Outcome.worse and not (margin is not None and ruled_out)
