"""`data.mix`: rows of other sources in training, by weight or by count, against forgetting.

    data.mix=[{data: hub, path: yahma/alpaca-cleaned, weight: 0.1}]

makes a tenth of the training rows general ones. Each entry has `weight` or `count`, `data` (an option of `data=`, by
default local_file), `format` (by default the run's), and the settings of that option.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.component import Component
from framework.errors import FrameworkError, one_line, unknown
from framework.fields import fields
from framework.plan import Choice
from framework.plugins import components
from framework.records import RawData, Row

OWN = ("data", "format", "weight", "count")
BASE = ("validation_split", "overflow", "proof", "on_bad_row", "mask_history", "mix")
"""Settings of the whole run, not of one source."""


@dataclass(frozen=True)
class Part:
    """One source that is mixed in. Either `weight`, its share of all training rows, or `count` is given."""

    name: str
    source: Choice
    format: Choice | None
    weight: float | None
    count: int | None

    def wanted(self, own_rows: int, weights: float) -> int:
        """Return how many rows are wanted beside `own_rows`, where all weights add up to `weights`."""
        if self.count is not None:
            return self.count
        return round((self.weight or 0) / (1 - weights) * own_rows)


def problems(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Say what is wrong with `data.mix`, a sentence for each entry."""
    total = 0.0
    for number, entry in enumerate(entries):
        try:
            total += _part(number, entry).weight or 0
        except FrameworkError as error:
            yield str(error)
    if total >= 1:
        yield f"data.mix: the weights add up to {total:g}, and leave nothing for the run's own data: below 1 is valid"


def parts(entries: Iterable[Mapping[str, Any]]) -> list[Part]:
    """Return what `data.mix` asks for.

    Raises:
        FrameworkError: an entry is wrong.
    """
    return [_part(number, entry) for number, entry in enumerate(entries)]


def _part(number: int, entry: Mapping[str, Any]) -> Part:
    place = f"data.mix[{number}]"
    source = _option("data", str(entry.get("data", "local_file")), place)
    settings = {str(name): value for name, value in entry.items() if name not in OWN}
    _check_names(place, source, settings)
    _check_amount(place, entry.get("weight"), entry.get("count"))
    form = _option("format", str(entry["format"]), place) if entry.get("format") is not None else None
    return Part(
        name=str(settings.get("path", source.name)),
        source=Choice(source, _settings(place, source, settings)),
        format=None if form is None else Choice(form, form.schema()),
        weight=entry.get("weight"),
        count=entry.get("count"),
    )


def _check_amount(place: str, weight: object, count: object) -> None:
    if (weight is None) == (count is None):
        message = f"{place} needs weight (a share of the training rows) or count (a number of rows), one of both"
        raise FrameworkError(message)
    if weight is not None and not (_is_number(weight) and 0 < float(str(weight)) < 1):
        message = f"{place}.weight={weight} must be a number above 0 and below 1"
        raise FrameworkError(message)
    if count is not None and not (isinstance(count, int) and _is_number(count) and count > 0):
        message = f"{place}.count={count} must be a whole number above 0"
        raise FrameworkError(message)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(group: str, name: str, place: str) -> Component:
    options = components(group)
    if name not in options:
        message = f"{place}.{group}={name}: {unknown(f'{group} option', name, options)}"
        raise FrameworkError(message)
    return options[name]


def _check_names(place: str, source: Component, settings: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(source.schema) if field.name not in BASE]
    for name in settings:
        if name not in known:
            message = f"{place}: {unknown('key', name, [*known, *OWN])}"
            raise FrameworkError(message)


def _settings(place: str, source: Component, settings: Mapping[str, Any]) -> Any:
    for field in fields(source.schema):
        if field.name in settings and not field.accepts(settings[field.name]):
            message = f"{place}.{field.name}={settings[field.name]} must be {field.valid}"
            raise FrameworkError(message)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(source.schema), settings)
        if missing := sorted(OmegaConf.missing_keys(merged)):
            message = f"{place}.{missing[0]} has no value: give {missing[0]}: …"
            raise FrameworkError(message)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        message = f"{place}: {one_line(error)}"
        raise FrameworkError(message) from error


def choose(raw: RawData, wanted: int, seed: int) -> Iterator[Row]:
    """Give `wanted` rows, drawn by `seed`, in their order; all of them where there are no more.

    Of a streamed source the first rows are taken: to count it would be to read it whole.
    """
    if raw.streamed:
        yield from itertools.islice(raw.train, wanted)
        return
    total = sum(1 for _ in raw.train)
    chosen = set(random.Random(seed).sample(range(total), min(wanted, total)))  # noqa: S311 - a choice, not a secret
    for number, row in enumerate(raw.train):
        if number in chosen:
            yield row
