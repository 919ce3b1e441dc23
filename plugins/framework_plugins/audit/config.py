"""Options of `audit=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Interval

from framework.api import Affects, AuditConfig


class Check(StrEnum):
    """What the standard audit looks for; each is the name of a finding."""

    secrets = "secrets"
    leaked = "leaked"
    empty_answers = "empty_answers"
    empty_questions = "empty_questions"
    broken_encoding = "broken_encoding"
    control_characters = "control_characters"
    markup = "markup"
    broken_json = "broken_json"
    contradictions = "contradictions"
    duplicates = "duplicates"
    near_duplicates = "near_duplicates"
    identical_pairs = "identical_pairs"
    contradictory_labels = "contradictory_labels"
    one_sided_labels = "one_sided_labels"
    length_bias = "length_bias"
    ranks = "ranks"
    refusals = "refusals"
    emails = "emails"
    too_long = "too_long"
    too_few_rows = "too_few_rows"
    very_long_answers = "very_long_answers"
    one_word_answers = "one_word_answers"
    homogeneous = "homogeneous"
    unshuffled = "unshuffled"
    missing_system = "missing_system"
    languages = "languages"
    low_supervision = "low_supervision"
    padding = "padding"
    exact_match = "exact_match"


@dataclass
class StandardConfig(AuditConfig):
    """Duplicates, contradictions, leaks, odd texts, secrets, repetition, row order, and too few rows for the epochs."""

    fatal: list[Check] = field(default_factory=list)
    """Findings that stop the run: `[secrets, leaked]`."""
    ignore: list[Check] = field(default_factory=list)
    """Findings that are not reported."""
    clean: Annotated[str | None, Affects.nothing] = None
    """A .jsonl file for the rows without duplicates, leaks, broken rows, empty questions and empty answers; a list
    beside it names the removed rows."""
    few_rows: Annotated[int, Ge(0)] = 100
    """Fewer training rows than this are few: `few_rows_epochs` epochs or more over them are reported."""
    few_rows_epochs: Annotated[float, Ge(0)] = 3.0
    """With few rows, this many epochs or more are reported; with fewer than ten times as many rows, more than twice as
    many."""
    long_answer: Annotated[float, Ge(1)] = 5.0
    """An answer is very long with more than this many times the tokens of the 95th percentile."""
    length_bias: Annotated[float, Interval(ge=0.5, le=1)] = 0.65
    """Preference pairs are biased by length if the chosen answer is the longer one in more than this share of them, or
    the shorter one."""
    homogeneous: Annotated[float, Interval(gt=0, le=1)] = 0.3
    """Largest share of the rows that one template, or one group of near-duplicates, may make up."""
    distinct: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Answers are reported as repetitive if less than this share of their word pairs is distinct (distinct-2)."""
    languages: Annotated[float, Interval(gt=0, le=0.5)] = 0.01
    """A second language is reported if at least this share of the rows is written in it."""
    low_supervision: Annotated[float, Interval(ge=0, le=1)] = 0.05
    """Reported if less than this share of all tokens is learned."""
    padding: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Reported if padding makes up more than this share of the tokens in a batch."""
    sample: Annotated[int, Ge(100)] = 1000
    """How many rows the checks of templates, languages and order read; other checks read every row."""

    def cleaned(self) -> str | None:
        """The file with the remaining rows."""
        return self.clean
