"""Evaluations put side by side, item by item. What cannot be paired is refused, with the first item and what helps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from framework import FrameworkError
from framework.api import Answered, Change, Measure, Outcome, count, scoring, unknown
from framework.api.program import Comparison, VerdictConfig, compare_systems
from framework_plugins.evals.comparison.evaluations import Evaluation, Scores, figure, measured, own_error
from framework_plugins.evals.harness.figures import Items

NO_CLUSTERS = "none"
"""The value of `--cluster` that takes all items for independent."""
MOST_CLUSTERED = 20_000
"""Items whose texts are compared with each other: 7 seconds of one core."""
PERCENTS = 10
"""A score above it, beside scores up to 1, is one of percents; grades are up to 10."""
SHOWN = 8
"""Names that a message lists."""


@dataclass(frozen=True)
class Choices:
    """The arguments of the command."""

    metrics: Sequence[str] = ()
    higher: Sequence[str] = ()
    lower: Sequence[str] = ()
    cluster: str = ""
    common: bool = False
    missing_as_wrong: bool = False
    all_pairs: bool = False
    confidence: float = 0.95
    margin: float | None = None


Notes = dict[str, list[str]]
"""What is to know, and the measures that it is about; none if it is about all."""


@dataclass(frozen=True)
class Figures:
    """One measure: the figure that each system prints, by letter, and the items that are compared."""

    name: str
    items: int
    clusters: int
    printed: Mapping[str, str]
    values: Mapping[str, float]
    missing: Mapping[str, int]
    higher_is_better: bool


@dataclass(frozen=True)
class Compared:
    """The result of a comparison: the systems by letter, the measures, each comparison, and notes.

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
    return [chr(65 + index % 26) + (str(index // 26 + 1) if index >= 26 else "") for index in range(total)]  # noqa: PLR2004 - letters


def compared(evaluations: Sequence[Evaluation], choices: Choices) -> Compared:
    """Compare each evaluation with the first one, or all with each other.

    Raises:
        FrameworkError: they are not of the same items, share no measure, or the direction of one is not known.
    """
    systems = dict(zip(letters(len(evaluations)), evaluations, strict=True))
    notes = _notes(systems)
    _check_versions(systems)
    names = _measure_names(systems, choices, notes)
    directions = _directions(systems, names, choices)
    paired, refused = dict[str, dict[str, Measure]](), list[FrameworkError]()
    for name in names:
        try:
            paired[name] = _pair_items(systems, name, up=directions[name], choices=choices, notes=notes)
        except FrameworkError as error:
            refused.append(error)
    if refused:
        hint = " ".join(f"--metric {name}" for name in [*paired][:SHOWN])
        raise FrameworkError(f"{refused[0]}\nTo compare the rest: {hint}") if hint else refused[0]
    measures = {name: sides for name, sides in paired.items() if _is_comparable(name, sides, notes)}
    if not measures:
        text, names = notes.popitem()
        raise FrameworkError(f"{', '.join(names)}: {text}")
    config = VerdictConfig(confidence=choices.confidence)
    config = config if choices.margin is None else replace(config, margin=choices.margin)
    comparisons = compare_systems(
        {letter: {name: sides[letter] for name, sides in measures.items()} for letter in systems},
        config,
        against="" if choices.all_pairs else "A",
        candidates={
            name: max(evaluation.measures[name].candidates for evaluation in systems.values()) for name in measures
        },
    )
    return Compared(
        systems,
        [_figures(name, systems, sides) for name, sides in measures.items()],
        comparisons,
        _unpaired_p_values(systems, {name: len(sides["A"].items) for name, sides in measures.items()}, comparisons),
        [f"{', '.join(names)}: {text}" if names else text for text, names in notes.items()],
        choices,
    )


def _notes(systems: Mapping[str, Evaluation]) -> Notes:
    """Return the notes of the evaluations, each once, with the letters of the systems that have it."""
    letters_by_note = {
        note: [letter for letter, evaluation in systems.items() if note in evaluation.notes]
        for source in systems.values()
        for note in source.notes
    }
    return {
        note if len(names) == len(systems) else f"{', '.join(names)}: {note}": []
        for note, names in letters_by_note.items()
    }


def _check_versions(systems: Mapping[str, Evaluation]) -> None:
    baseline = systems["A"]
    for letter, evaluation in systems.items():
        for name in baseline.versions.keys() & evaluation.versions.keys():
            ours, theirs = baseline.versions[name], evaluation.versions[name]
            if ours and theirs and ours != theirs and baseline.tool == evaluation.tool:
                raise FrameworkError(
                    f"{name} has version {ours} in A ({baseline.place}) and {theirs} in {letter} ({evaluation.place}), "
                    "so the figures are not of one thing: evaluate both with one version"
                )


def _measure_names(systems: Mapping[str, Evaluation], choices: Choices, notes: Notes) -> list[str]:
    """Return the measures to compare: those of all systems, or those that the user named."""
    sides = [evaluation.measures for evaluation in systems.values()]
    everywhere = [name for name in sides[0] if all(name in side for side in sides)]
    for name in choices.metrics:
        if name not in everywhere:
            lacking = [letter for letter, evaluation in systems.items() if name not in evaluation.measures]
            options = dict.fromkeys(everywhere or [measure for side in sides for measure in side])
            raise FrameworkError(f"--metric {name} is not in {', '.join(lacking)}: {unknown('metric', name, options)}")
    if not everywhere:
        have = "; ".join(
            f"{letter} has {', '.join([*evaluation.measures][:SHOWN]) or 'none'}"
            for letter, evaluation in systems.items()
        )
        raise FrameworkError(f"no measure is in all of them: {have}")
    unshared = [name for side in sides for name in side if name not in everywhere]
    if unshared and not choices.metrics:
        notes[f"not compared: {', '.join(dict.fromkeys(unshared))}; not in all of them"] = []
    if choices.metrics:
        return [*dict.fromkeys(choices.metrics)]
    parts = {name: group for name in everywhere if (group := sides[0][name].part_of)}
    if parts:
        groups = ", ".join(dict.fromkeys(parts.values()))
        text = f"not compared: {count(len(parts), 'measure')} of the tasks in {groups}, unless --metric names them"
        notes[text] = []
    return [name for name in everywhere if name not in parts]


def _directions(systems: Mapping[str, Evaluation], names: Sequence[str], choices: Choices) -> dict[str, bool]:
    for option, listed in (("--higher-is-better", choices.higher), ("--lower-is-better", choices.lower)):
        for name in listed:
            if name not in names:
                raise FrameworkError(f"{option}: {unknown('metric', name, names)}")
    directions: dict[str, bool] = {}
    for name in names:
        declared = {evaluation.measures[name].higher_is_better for evaluation in systems.values()} - {None}
        chosen = {up for up, listed in ((True, choices.higher), (False, choices.lower)) if name in listed}
        ways = chosen or declared
        if len(ways) != 1:
            reason = "nothing says" if not ways else "the evaluations do not agree"
            raise FrameworkError(
                f"{name}: {reason} whether a higher value is better. Add --higher-is-better {name} or "
                f"--lower-is-better {name}, or choose other measures with --metric"
            )
        directions[name] = ways == {True}
    return directions


def _pair_items(
    systems: Mapping[str, Evaluation], name: str, *, up: bool, choices: Choices, notes: Notes
) -> dict[str, Measure]:
    """Return the measure of each system over the same items in the same order."""
    baseline = systems["A"]
    sides = {letter: {*evaluation.measures[name].keys} for letter, evaluation in systems.items()}
    all_keys, common_keys = set.union(*sides.values()), set.intersection(*sides.values())
    looked = _asked_in_stages(systems, name)
    if len(common_keys) < len(all_keys) and not (choices.common or choices.missing_as_wrong or looked):
        letter = next(letter for letter, theirs in sides.items() if theirs != sides["A"])
        raise _other_items(
            name, baseline.measures[name].keys, letter, sides[letter], baseline.place, systems[letter].place
        )
    # In an order that is not that of the files: which one comes first must not matter.
    keys = sorted(all_keys if choices.missing_as_wrong else common_keys)
    left_out = len(all_keys) - len(keys)
    if left_out and looked and not choices.common:
        counts = ", ".join(f"{len(theirs)} of {letter}" for letter, theirs in sides.items())
        text = (
            f"a run asks no more prompts once they decide its verdict: {counts} were asked. The {len(keys)} that all "
            "were asked are compared, and the rest is left out; --ask asks it too"
        )
        notes.setdefault(text, []).append(name)
    elif left_out:
        text = f"{left_out} of the items are not in all of them, and are left out (--missing-as-wrong counts them)"
        notes.setdefault(text, []).append(name)
    for letter in systems:
        _check_content(name, sorted(common_keys), systems, letter)
    _check_scales(name, systems, up=up, share=choices.missing_as_wrong)
    if len({evaluation.tool for evaluation in systems.values()}) > 1:
        notes["the items of different tools are paired by their names only: their prompts are not compared"] = []
    elif not all(evaluation.items[key].content for evaluation in systems.values() for key in common_keys):
        text = "the items are paired by their names only, because the files do not say what was asked"
        notes.setdefault(text, []).append(name)
    clusters = _clusters(systems, name, keys, choices, notes)
    absent = 0.0 if choices.missing_as_wrong else None
    return {
        letter: _align(evaluation.measures[name], keys, clusters, absent, up=up)
        for letter, evaluation in systems.items()
    }


def _check_scales(name: str, systems: Mapping[str, Evaluation], *, up: bool, share: bool) -> None:
    """Refuse scores of 0 to 1 beside scores of 0 to 100, and any other scale if what is missing counts as wrong."""
    ranges = dict[str, tuple[float, float, set[float]]]()
    for letter, evaluation in systems.items():
        scores = [item for item in evaluation.measures[name].measure.items if item is not None]
        ranges[letter] = (min(scores, default=0.0), max(scores, default=0.0), {*scores})
        if share and not (up and 0 <= ranges[letter][0] <= ranges[letter][1] <= 1):
            raise FrameworkError(
                f"--missing-as-wrong: {name} has scores from {ranges[letter][0]:.4g} to {ranges[letter][1]:.4g} in "
                f"{letter} ({evaluation.place}), so what is wrong is not known. It needs scores from 0 to 1 of which a "
                "higher one is better: use --common"
            )
    small, *_, large = sorted(ranges, key=lambda letter: ranges[letter][1])
    (low, high, values), (other_low, other_high, other_values) = ranges[small], ranges[large]
    percents = low >= 0 and 0 < high <= 1 and other_low >= 0 and PERCENTS < other_high <= 100  # noqa: PLR2004 - percents
    if percents and (up or (values <= {0.0, 1.0} and other_values <= {0.0, 100.0})):
        raise FrameworkError(
            f"{name}: the scores are at most {high:.4g} in {small} ({systems[small].place}) and {other_high:.4g} in "
            f"{large} ({systems[large].place}), as if these were shares and those percents: divide the scores of "
            f"{large} by 100, or those of both if all are percents"
        )


def _asked_in_stages(systems: Mapping[str, Evaluation], name: str) -> bool:
    """Whether these are runs that asked in stages, so that some were asked only the first of the same prompts."""
    measures = [evaluation.measures[name] for evaluation in systems.values()]
    nested = sorted((scores.keys for scores in measures), key=len)
    return all(evaluation.tool == "run" for evaluation in systems.values()) and (
        any(scores.measure.look_share < 1 for scores in measures)
        and all({*smaller} <= {*larger} for smaller, larger in itertools.pairwise(nested))
    )


def _is_comparable(name: str, sides: Mapping[str, Measure], notes: Notes) -> bool:
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
    name: str, keys: Sequence[str], letter: str, theirs: set[str], path: str, other_path: str
) -> FrameworkError:
    absent = [key for key in keys if key not in theirs]
    surplus = sorted(theirs - {*keys})
    parts = []
    if absent:
        parts.append(
            f"{len(absent)} of the {count(len(keys), 'item')} in A ({path}) are not in {letter} ({other_path}), "
            f"first {absent[0]}"
        )
    if surplus:
        parts.append(f"{len(surplus)} in {letter} ({other_path}) are not in A, first {surplus[0]}")
    common_count = len(keys) - len(absent)
    common = f"--common compares the {common_count} that all have, --missing-as-wrong counts the others as wrong"
    helps = common if common_count > 1 else "they are evaluations of other things"
    return FrameworkError(f"{name}: {'; '.join(parts)}: {helps}")


def _check_content(name: str, keys: Sequence[str], systems: Mapping[str, Evaluation], letter: str) -> None:
    baseline, evaluation = systems["A"], systems[letter]
    if baseline.tool != evaluation.tool:
        return
    differing = [
        key
        for key in keys
        if (ours := baseline.items[key].content) and (theirs := evaluation.items[key].content) and ours != theirs
    ]
    if differing:
        raise FrameworkError(
            f"{name}: {len(differing)} of {count(len(keys), 'item')} have one name and different contents in A "
            f"({baseline.place}) and {letter} ({evaluation.place}), first {differing[0]}: the prompts or the data are "
            "not the same, so they cannot be paired"
        )


def _clusters(
    systems: Mapping[str, Evaluation], name: str, keys: Sequence[str], choices: Choices, notes: Notes
) -> list[int]:
    """Return a number for each item, the same for items that are dependent in any evaluation; empty if none are."""
    if choices.cluster == NO_CLUSTERS:
        return []
    if choices.cluster and any(evaluation.clustered for evaluation in systems.values()):
        raise FrameworkError(
            f"--cluster {choices.cluster}: a run knows which of its prompts are dependent, by format.cluster; only "
            f"--cluster {NO_CLUSTERS} is possible"
        )
    named: dict[str, dict[str, Hashable]] = {}
    for letter, evaluation in systems.items():
        scores = evaluation.measures[name]
        if evaluation.clustered:
            named[letter] = dict(zip(scores.keys, scores.measure.clusters or scores.keys, strict=True))
        elif any(item.cluster for item in evaluation.items.values()):
            named[letter] = {key: item.cluster or (key,) for key, item in evaluation.items.items()}
    items = {key: item for evaluation in systems.values() for key, item in evaluation.items.items() if item.text}
    texts = [items[key] for key in keys if key in items]
    labelings = [*named.values()]
    if len(texts) == len(keys) <= MOST_CLUSTERED:
        answered = [Answered(item.text, "", item.reference or None, 0, stopped=True) for item in texts]
        labelings.append(dict(zip(keys, scoring.clusters(answered) or keys, strict=True)))
    elif not labelings:
        why = "too many to compare their texts" if texts else "their texts are not known"
        notes.setdefault(
            f"all items count as independent, {why}: --cluster FIELD names what some of them share", []
        ).append(name)
    labels = _link(keys, labelings)
    combined, partitions = (_link(keys, [*named.values()]), [_link(keys, [labeling]) for labeling in named.values()])
    if any(partition != combined for partition in partitions):
        if combined not in partitions and not any(evaluation.clustered for evaluation in systems.values()):
            raise FrameworkError(
                f"{name}: {', '.join(named)} have different clusters, and those of none contain the others: write the "
                f"same 'cluster' into all files, or into one only, or add --cluster {NO_CLUSTERS}"
            )
        text = f"{', '.join(named)} have different clusters: items that share one in any of them count as dependent"
        notes.setdefault(text, []).append(name)
    return labels if len({*labels}) < len(labels) else []


def _link(keys: Sequence[str], labelings: Sequence[Mapping[str, Hashable]]) -> list[int]:
    """Return a number for each item, that of the first one that it is linked to by any of the labelings."""
    parents = [*range(len(keys))]

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    for labeling in labelings:
        first_index: dict[Hashable, int] = {}
        for index, key in enumerate(keys):
            root_a, root_b = root(index), root(first_index.setdefault(labeling.get(key, (key,)), index))
            parents[max(root_a, root_b)] = min(root_a, root_b)
    return [root(index) for index in parents]


def _align(scores: Scores, keys: Sequence[str], clusters: list[int], absent: float | None, *, up: bool) -> Measure:
    """Return a measure over these items in this order; an item without a score gets `absent`."""
    measure = scores.measure
    indexes = {key: index for index, key in enumerate(scores.keys)}
    scored = {key: measure.items[index] for key, index in indexes.items()}
    items = [absent if (item := scored.get(key)) is None else item for key in keys]
    if scores.higher_is_better is None:
        measure = measured(items, higher_is_better=up)
    weights = [measure.weights[indexes[key]] if key in indexes else 1.0 for key in keys] if measure.weights else []
    scored_indexes = [index for index, item in enumerate(items) if item is not None and (not weights or weights[index])]
    value = math.nan
    if scored_indexes:
        values = [items[index] or 0.0 for index in scored_indexes]
        value = Items(
            values, [weights[index] for index in scored_indexes] if weights else [], measure.exponential
        ).figure
    return replace(
        measure, value=value, items=items, weights=weights, clusters=clusters, higher_is_better=up,
        where=[], content=[], constant_items=[],
    )  # fmt: skip


def _figures(name: str, systems: Mapping[str, Evaluation], measures: Mapping[str, Measure]) -> Figures:
    baseline = measures["A"]
    # What a tool prints is of all its items, which may be others than those that are compared.
    scored = [None not in pair for pair in zip(*(measure.items for measure in measures.values()), strict=True)]
    printed, values = dict[str, str](), dict[str, float]()
    for letter, measure in measures.items():
        tool = systems[letter].measures[name]
        is_same = all(scored) and _is_complete(tool, len(scored))
        scores = [item for item, is_scored in zip(measure.items, scored, strict=True) if is_scored and item is not None]
        plain = bool(scores) and not measure.weights and not measure.exponential
        values[letter] = measure.value if is_same or not plain else sum(scores) / len(scores)
        printed[letter] = tool.printed if is_same else figure(values[letter], own_error(scores)) if plain else ""
    missing_counts = {letter: measure.items.count(None) for letter, measure in measures.items()}
    return Figures(
        name, len(baseline.items), len({*baseline.clusters}), printed, values, missing_counts, baseline.higher_is_better
    )


def _is_complete(scores: Scores, items: int) -> bool:
    """Whether all items of a measure are compared, and each has a score."""
    return len(scores.keys) == items and None not in scores.measure.items


def _unpaired_p_values(
    systems: Mapping[str, Evaluation], items: Mapping[str, int], comparisons: Sequence[Comparison]
) -> dict[tuple[str, str, str], float]:
    """Return the p-values of the z-test on the tools' own figures, as if the samples were independent."""
    values = {}
    for comparison in comparisons:
        sides = [systems[letter].measures[comparison.measure] for letter in (comparison.one, comparison.other)]
        errors = [side.error for side in sides]
        is_complete = all(_is_complete(side, items[comparison.measure]) for side in sides)
        if None in errors or not is_complete or any(side.measure.exponential for side in sides):
            continue
        spread = math.hypot(*(error or 0.0 for error in errors))
        if spread:
            z = (sides[1].measure.value - sides[0].measure.value) / spread
            values[comparison.measure, comparison.one, comparison.other] = 2 * NormalDist().cdf(-abs(z))
    return values


def failing(result: Compared, fail_on: str) -> list[Comparison]:
    """Return the comparisons that `--fail-on` names.

    `worse`: significantly worse; with a margin only if a loss of more than the margin is not ruled out. `undecided`:
    whatever does not rule out a loss of more than the margin.
    """
    return [
        comparison
        for comparison in result.comparisons
        if fail_on and _has_failed(comparison.change, fail_on, result.choices.margin)
    ]


def _has_failed(change: Change, fail_on: str, margin: float | None) -> bool:
    fall = change.high if not change.higher_is_better else None if change.low is None else -change.low
    ruled_out = fall is not None and fall <= (change.margin or 0.0)
    if fail_on == "undecided":
        return not ruled_out and change.outcome is not None and change.outcome is not Outcome.better
    return change.outcome is Outcome.worse and not (margin is not None and ruled_out)
