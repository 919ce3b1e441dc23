"""`audit=decide`: options that are easily confused, and labels that the rows are too few for."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np

from framework.api import Audit, AuditData, Finding, RowPart, Severity, count
from framework_plugins.decide.config import DecideAuditConfig

NEAR = 0.85
"""Options whose letters match by a larger share differ in a letter or an ending."""
SHORT = 3
"""Options of as few letters are different words if one letter differs."""
MANY = 200
"""More options are not compared pair by pair."""
SHOWN = 5
LOPSIDED = 0.8
"""A label of a larger share of the rows makes a model look good that always says it."""
MOST_SETS = 1000
"""Different sets of options whose names are compared."""
Found = Iterator[Finding]
ByLabel = Mapping[str, Mapping[RowPart, list[int]]]


class Decide(Audit):
    """Checks of a decision's options."""

    def __init__(self, config: DecideAuditConfig) -> None:
        self.config = config

    def audit(self, data: AuditData) -> Iterable[Finding]:
        rows: defaultdict[str, defaultdict[RowPart, list[int]]] = defaultdict(lambda: defaultdict(list))
        sets = Counter[tuple[str, ...]]()
        offered = defaultdict[str, list[int]](list)
        for number in np.flatnonzero(data.part != RowPart.left_out).tolist():
            example, part = data.example(number), RowPart(int(data.part[number]))
            if not example.options or example.is_prompt:
                continue
            sets[example.options] += 1
            rows[example.messages[-1].content][part].append(number)
            for option in example.options if sets[example.options] == 1 else ():  # one row of each set is enough
                offered[option].append(number)
        if not sets:
            return []
        findings = [
            finding for options in itertools.islice(sets, MOST_SETS) for finding in _pairs(data, options, offered)
        ]
        findings = [*{finding.name: finding for finding in reversed(findings)}.values(), *_ids(data, sets, offered)]
        if len(sets) == 1:  # else each row has options of its own, of which most are in a single one
            findings += _few(data, rows, next(iter(sets)))
        return findings


def _pairs(data: AuditData, options: Sequence[str], offered: Mapping[str, list[int]]) -> Found:
    """Give the findings about two options, of which the first is the shorter one."""
    for name, severity, fits, text, joint, advice in (
        ("near_options", Severity.warning, _is_near, "options have nearly the same name", "and",
         "if they mean the same, write one of them in all rows; if not, names that differ are learned sooner"),
        ("prefix_options", Severity.note, _begins, "options are the beginning of others", "of",
         "the token that ends the answer distinguishes them, and is scored with each: there is nothing to do"),
    ):  # fmt: skip
        pairs = [pair for pair in itertools.combinations(sorted(options[:MANY], key=len), 2) if fits(*pair)]
        if pairs:
            shown = ", ".join(f"'{one}' {joint} '{other}'" for one, other in pairs[:SHOWN])
            yield Finding(name, severity, 1, f"{text}: {shown}", advice, data.examples(offered[pairs[0][0]], 1))


def _begins(left: str, right: str) -> bool:
    return right.startswith(left)


def _is_near(left: str, right: str) -> bool:
    """Whether two options differ in case, punctuation, a letter or an ending; numbers differ in what they say."""
    one, other = ("".join(letter for letter in option.casefold() if letter.isalnum()) for option in (left, right))
    if one == other:
        return True
    if any(letter.isdigit() for letter in one + other) or min(len(one), len(other)) <= SHORT:
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() > NEAR


def _ids(data: AuditData, sets: Iterable[tuple[str, ...]], offered: Mapping[str, list[int]]) -> Found:
    numbers = [options for options in sets if all(option.isdigit() for option in options)]
    if numbers:
        yield Finding(
            "unnamed_options", Severity.warning, 1, f"all options are numbers: {', '.join(numbers[0][:SHOWN])}",
            "if they are ids, set format.labels to the names in their order: a model knows what a name means; a scale "
            "such as 1 to 5 may stay", data.examples(offered[numbers[0][0]], 1),
        )  # fmt: skip


def _few(data: AuditData, rows: ByLabel, options: Sequence[str]) -> Found:
    """Give the findings about the numbers of rows; all have the same options."""
    train = {option: rows[option][RowPart.train] for option in options}
    total = sum(map(len, train.values()))
    most = max(train, key=lambda option: len(train[option]))
    if len(train[most]) == total:
        yield Finding(
            "one_option", Severity.serious, total, f"all {total} training rows have the label '{most}'",
            "add rows of the other labels: from one label only the name is learned", data.examples(train[most]),
            fatal=True,
        )  # fmt: skip
        return
    if len(train[most]) > LOPSIDED * total:
        yield Finding(
            "lopsided_options", Severity.note, len(train[most]),
            f"{len(train[most])} of {total} training rows have the label '{most}': always to say it is as accurate",
            "compare decision_log_score and the table of labels; method.class_weights gives rare labels more weight",
            data.examples(train[most], 1),
        )  # fmt: skip
    rare = {option: numbers for option, numbers in train.items() if len(numbers) <= 1}
    unseen = [option for option, numbers in rare.items() if not numbers and any(rows[option].values())]
    if unseen:
        held_out = [number for option in unseen for numbers in rows[option].values() for number in numbers]
        yield Finding(
            "unseen_options", Severity.serious, len(held_out),
            f"{count(len(held_out), 'held-out row')} have a label that no training row has: {_shown(unseen)}",
            "add training rows of these labels, or remove them from format.labels", data.examples(held_out),
        )  # fmt: skip
    if single := [option for option in rare if option not in unseen]:
        numbers = [number for option in single for number in rare[option]] or [train[most][0]]
        yield Finding(
            "rare_options", Severity.warning, len(numbers),
            f"{count(len(single), 'option')} of {len(options)} have no training row or one: {_shown(single)}",
            "add rows, or join the labels into one: how such a label is decided is chance", data.examples(numbers),
        )  # fmt: skip


def _shown(options: Sequence[str]) -> str:
    return ", ".join(f"'{option}'" for option in options[:SHOWN]) + ", …" * (len(options) > SHOWN)
