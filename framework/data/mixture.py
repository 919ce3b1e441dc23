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
from framework.api.records import RawData, Row
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

    def target_rows(self, own: int, parts: Iterable[MixtureSource]) -> int:
        """Return how many rows are wanted beside `own` rows for training, where `parts` are mixed in altogether."""
        if self.count is not None:
            return self.count
        everything = list(parts)
        weights = sum(part.weight or 0 for part in everything)
        counts = sum(part.count or 0 for part in everything)
        # Weights are shares of the whole: what is not mixed in has the share 1 - weights.
        return round((self.weight or 0) / (1 - weights) * (own + counts))


def problems(entries: Iterable[Mapping[str, Any]], form: Selection) -> Iterator[str]:
    """Say what is wrong with `data.mix`, a sentence for each entry."""
    total = 0.0
    for number, entry in enumerate(entries):
        try:
            total += _part(number, entry, form).weight or 0
        except FrameworkError as error:
            yield str(error)
    if total >= 1:
        left = "which leaves nothing for the run's own data"
        yield f"data.mix: the weights add up to {total:g}, {left}: their sum has to be below 1"


def parts(entries: Iterable[Mapping[str, Any]], form: Selection) -> list[MixtureSource]:
    """Return what `data.mix` asks for, `form` being the format of the run.

    Raises:
        FrameworkError: an entry is wrong.
    """
    return [_part(number, entry, form) for number, entry in enumerate(entries)]


def _part(number: int, entry: Mapping[str, Any], form: Selection) -> MixtureSource:
    place = f"data.mix[{number}]"
    source = _option("data", str(entry.get("data", "local_file")), place)
    settings = {str(name): value for name, value in entry.items() if name not in ENTRY_KEYS}
    _check_names(place, source, settings)
    _check_amount(place, entry.get("weight"), entry.get("count"))
    return MixtureSource(
        name=str(settings.get("path", source.name)),
        source=Selection(source, _settings(place, source, settings)),
        format=_format(place, entry, form),
        weight=entry.get("weight"),
        count=entry.get("count"),
        max_rows=settings.get("max_rows"),
    )


def _format(place: str, entry: Mapping[str, Any], form: Selection) -> Selection:
    """Return the format of an entry: one of its own, or the run's, with columns of its own if it names some."""
    if entry.get("format") is not None:
        own = _option("format", str(entry["format"]), place)
        same = {name: getattr(form.config, name) for name in ("system_prompt", "strip", "thoughts")}
        form = Selection(own, own.schema(**same))
    columns = entry.get("columns")
    if columns is None:
        return form
    if not isinstance(columns, Mapping) or not all(isinstance(name, str | None) for name in columns.values()):
        raise FrameworkError(
            f"{place}.columns={columns} must be named values, each text or null, "
            "such as {instruction: question, output: answer}"
        )
    for problem in problems_of_columns(columns, f"{place}.columns"):
        raise FrameworkError(problem)
    return Selection(form.component, dataclasses.replace(form.config, columns=dict(columns)))


def _check_amount(place: str, weight: object, count: object) -> None:
    if (weight is None) == (count is None):
        reason = "has neither" if weight is None else "has both"
        raise FrameworkError(
            f"{place} needs weight (a share of the training rows) or count (a number of rows), but {reason}"
        )
    if weight is not None and not (_is_number(weight) and 0 < float(str(weight)) < 1):
        raise FrameworkError(f"{place}.weight={weight} must be a number above 0 and below 1")
    if count is not None and not (isinstance(count, int) and _is_number(count) and count > 0):
        raise FrameworkError(f"{place}.count={count} must be a whole number above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(group: str, name: str, place: str) -> Component:
    options = current().plugins.components(group)
    if name not in options:
        raise FrameworkError(f"{place}.{group}={name}: {unknown(f'{group} option', name, options)}")
    return options[name]


def _check_names(place: str, source: Component, settings: Mapping[str, Any]) -> None:
    names = [field.name for field in fields(source.schema)]
    known = [name for name in names if name not in BASE and not name.startswith(HELD_OUT)]
    for name in settings:
        if name not in known:
            raise FrameworkError(f"{place}: {unknown('key', name, [*known, *ENTRY_KEYS])}")


def _settings(place: str, source: Component, settings: Mapping[str, Any]) -> Any:
    for field in fields(source.schema):
        if field.name in settings and not field.accepts(settings[field.name]):
            raise FrameworkError(f"{place}.{field.name}={settings[field.name]} must be {field.valid}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(source.schema), settings)
        if missing := sorted(OmegaConf.missing_keys(merged)):
            raise FrameworkError(f"{place}.{missing[0]} has no value: give {missing[0]}: …")
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise FrameworkError(f"{place}: {summarize_error(error)}") from error


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
        """Return `count` more rows, in their order, or fewer if there are no more; None if there is none."""
        if self.raw.streamed:
            first, self._next = self._next, self._next + count
            rows = list(itertools.islice(self.raw.train, first, min(self._next, self.max_rows or self._next)))
            return rows or None
        if self._order is None:
            self._order = list(range(sum(1 for _ in itertools.islice(self.raw.train, self.max_rows))))
            random.Random(self._seed).shuffle(self._order)  # noqa: S311 - a choice, not a secret
        # A set, in one pass over the rows: a source may be readable only from its beginning.
        chosen = set(self._order[self._next : self._next + count])
        self._next += count
        return (row for number, row in enumerate(self.raw.train) if number in chosen) if chosen else None
