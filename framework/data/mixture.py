"""`data.mix`: rows of other sources in training, by weight or by count, against forgetting.

    data.mix=[{data: hub, path: yahma/alpaca-cleaned, weight: 0.1}]

makes a tenth of the training rows general ones. Each entry has `weight` or `count`, `data` (an option of `data=`, by
default local_file), `format` and `columns` (by default the run's), and the settings of that option.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.api.component import Component
from framework.api.fields import fields
from framework.api.problem import Problem
from framework.api.records import RawData, Row
from framework.api.schema import DataConfig
from framework.api.selection import Selection
from framework.data.columns import problems as problems_of_columns
from framework.hooks.session import current
from framework.util.errors import FrameworkError, summarize_error, unknown

ENTRY_KEYS = ("data", "format", "columns", "weight", "count")
BASE = ("validation_split", "overflow", "proof", "on_bad_row", "learn", "cut", "mix")
"""Settings of the whole run, not of one source."""
HELD_OUT = ("validation", "prompts")
"""How the names of settings begin that name what is not trained on: mixed in is training only."""


@dataclass(frozen=True)
class MixtureSource:
    """One source that is mixed in. Either `weight`, its share of all training rows, or `count` is given.

    Of its first `max_rows` rows those in training are drawn.
    """

    name: str
    source: Selection
    format: Selection
    weight: float | None
    count: int | None
    max_rows: int | None

    def target_rows(self, own_rows: int, parts: Iterable[MixtureSource]) -> int:
        """Return how many rows are mixed into `own_rows` rows for training, where `parts` are all that is mixed in."""
        if self.count is not None:
            return self.count
        all_parts = list(parts)
        weights = sum(part.weight or 0 for part in all_parts)
        counts = sum(part.count or 0 for part in all_parts)
        # Weights are shares of the whole: what is not mixed in has the share 1 - weights.
        return round((self.weight or 0) / (1 - weights) * (own_rows + counts))


def problems(entries: Iterable[Mapping[str, Any]], form: Selection) -> Iterator[Problem]:
    """Return the problems of `data.mix`, a sentence for each entry."""
    total = 0.0
    for index, entry in enumerate(entries):
        try:
            total += _part(index, entry, form).weight or 0
        except FrameworkError as error:
            yield Problem(str(error))
    if total >= 1:
        reason = "which leaves nothing for the run's own data"
        yield Problem(f"data.mix: the weights add up to {total:g}, {reason}: their sum has to be below 1")


def parts(entries: Iterable[Mapping[str, Any]], form: Selection) -> list[MixtureSource]:
    """Return the sources of `data.mix`; `form` is the format of the run.

    Raises:
        FrameworkError: an entry is wrong.
    """
    return [_part(index, entry, form) for index, entry in enumerate(entries)]


def _part(index: int, entry: Mapping[str, Any], form: Selection) -> MixtureSource:
    entry_name = f"data.mix[{index}]"
    source = _option("data", str(entry.get("data", "local_file")), entry_name)
    settings = {str(name): value for name, value in entry.items() if name not in ENTRY_KEYS}
    _check_names(entry_name, source, settings)
    _check_amount(entry_name, entry.get("weight"), entry.get("count"))
    config: DataConfig = _settings(entry_name, source, settings)
    return MixtureSource(
        name=config.source() or source.name,
        source=Selection(source, config),
        format=_format(entry_name, entry, form),
        weight=entry.get("weight"),
        count=entry.get("count"),
        max_rows=config.max_rows,
    )


def _format(entry_name: str, entry: Mapping[str, Any], form: Selection) -> Selection:
    """Return the format of an entry: its own one, or the run's with the entry's columns."""
    if entry.get("format") is not None:
        option = _option("format", str(entry["format"]), entry_name)
        run_settings = {name: getattr(form.config, name) for name in ("system_prompt", "strip", "thoughts")}
        form = Selection(option, option.schema(**run_settings))
    columns = entry.get("columns")
    if columns is None:
        return form
    if not isinstance(columns, Mapping) or not all(isinstance(name, str | None) for name in columns.values()):
        raise FrameworkError(
            f"{entry_name}.columns={columns} must be named values, each text or null, "
            "such as {instruction: question, output: answer}"
        )
    for problem in problems_of_columns(columns, f"{entry_name}.columns"):
        raise FrameworkError(problem.text)
    return Selection(form.component, dataclasses.replace(form.config, columns=dict(columns)))


def _check_amount(entry_name: str, weight: object, count: object) -> None:
    if (weight is None) == (count is None):
        reason = "has neither" if weight is None else "has both"
        raise FrameworkError(
            f"{entry_name} needs weight (a share of the training rows) or count (a number of rows), but {reason}"
        )
    if weight is not None and not (_is_number(weight) and 0 < float(str(weight)) < 1):
        raise FrameworkError(f"{entry_name}.weight={weight} must be a number above 0 and below 1")
    if count is not None and not (isinstance(count, int) and _is_number(count) and count > 0):
        raise FrameworkError(f"{entry_name}.count={count} must be a whole number above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(group: str, name: str, entry_name: str) -> Component:
    options = current().plugins.components(group)
    if name not in options:
        raise FrameworkError(f"{entry_name}.{group}={name}: {unknown(f'{group} option', name, options)}")
    return options[name]


def _check_names(entry_name: str, source: Component, settings: Mapping[str, Any]) -> None:
    names = [field.name for field in fields(source.schema)]
    valid_names = [name for name in names if name not in BASE and not name.startswith(HELD_OUT)]
    for name in settings:
        if name not in valid_names:
            raise FrameworkError(f"{entry_name}: {unknown('key', name, [*valid_names, *ENTRY_KEYS])}")


def _settings(entry_name: str, source: Component, settings: Mapping[str, Any]) -> Any:
    for field in fields(source.schema):
        if field.name in settings and not field.accepts(settings[field.name]):
            raise FrameworkError(f"{entry_name}.{field.name}={settings[field.name]} must be {field.valid}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(source.schema), settings)
        if missing_keys := sorted(OmegaConf.missing_keys(merged)):
            raise FrameworkError(f"{entry_name}.{missing_keys[0]} has no value: give {missing_keys[0]}: …")
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise FrameworkError(f"{entry_name}: {summarize_error(error)}") from error


class SeededSampler:
    """Draws rows of a source by `seed`, none twice.

    Of a streamed source the next rows are taken: to count it would be to read it whole.
    """

    def __init__(self, raw: RawData, max_rows: int | None, seed: int) -> None:
        self.raw, self.max_rows = raw, max_rows
        self._next = 0
        self._order: list[int] | None = None
        self._seed = seed

    def draw(self, count: int) -> Iterable[Row] | None:
        """Return `count` more rows, in their order, or fewer at the end; None if no row is left."""
        if self.raw.streamed:
            start, self._next = self._next, self._next + count
            rows = list(itertools.islice(self.raw.train, start, min(self._next, self.max_rows or self._next)))
            return rows or None
        if self._order is None:
            self._order = list(range(sum(1 for _ in itertools.islice(self.raw.train, self.max_rows))))
            random.Random(self._seed).shuffle(self._order)  # noqa: S311 - a choice, not a secret
        # A set, in one pass over the rows: a source may be readable only from its beginning.
        chosen = set(self._order[self._next : self._next + count])
        self._next += count
        return (row for index, row in enumerate(self.raw.train) if index in chosen) if chosen else None
