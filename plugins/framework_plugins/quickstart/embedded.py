"""`data=orders` and `data=brief_answers`: the rows that `make_orders` and `make_pairs` wrote."""

from __future__ import annotations

import json
from importlib.resources import files

from framework.api import RawData, Row, Source
from framework_plugins.quickstart.config import BriefAnswersConfig, OrdersConfig


class Orders(Source):
    """The embedded orders."""

    def __init__(self, config: OrdersConfig) -> None:
        self.config = config

    def check(self) -> RawData:
        """Return the same: the rows come with the program."""
        return self.load()

    def load(self) -> RawData:
        return RawData(train=_rows("orders_train.jsonl"), prompts=_rows("orders_held_out.jsonl"))


class BriefAnswers(Source):
    """The embedded pairs."""

    def __init__(self, config: BriefAnswersConfig) -> None:
        self.config = config

    def load(self) -> RawData:
        return RawData(train=_rows("answers_train.jsonl"), prompts=_rows("questions_held_out.jsonl"))


def _rows(name: str) -> list[Row]:
    text = files("framework_plugins.quickstart").joinpath("data", name).read_text(encoding="utf-8")
    return [
        Row(json.loads(line), f"{name}:{line_number}") for line_number, line in enumerate(text.splitlines(), start=1)
    ]
