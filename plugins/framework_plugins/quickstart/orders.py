"""`data=orders`: the rows that `make_orders` wrote."""

from __future__ import annotations

import json
from importlib.resources import files

from framework.api import RawData, Row
from framework_plugins.quickstart.config import OrdersConfig


class Orders:
    """The embedded data set."""

    def __init__(self, config: OrdersConfig) -> None:
        self.config = config

    def check(self) -> RawData:
        """Return the same: the rows come with the program."""
        return self.load()

    def load(self) -> RawData:
        return RawData(train=_rows("orders_train.jsonl"), prompts=_rows("orders_held_out.jsonl"))


def _rows(name: str) -> list[Row]:
    text = files("framework_plugins.quickstart").joinpath("data", name).read_text(encoding="utf-8")
    return [Row(json.loads(line), f"{name}:{number}") for number, line in enumerate(text.splitlines(), start=1)]
