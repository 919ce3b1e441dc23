"""quickstart/make_orders.py: the shipped rows can be made again, and the prompts ask new things."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from framework_plugins.quickstart import make_orders

SHIPPED = files("framework_plugins.quickstart").joinpath("data")
NAMES = ("orders_train.jsonl", "orders_held_out.jsonl")


def test_the_shipped_files_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    make_orders.write(tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == SHIPPED.joinpath(name).read_bytes()


def test_no_customer_and_no_city_of_a_prompt_is_in_a_training_row() -> None:
    train, held_out = (
        [json.loads(json.loads(line)["output"]) for line in SHIPPED.joinpath(name).read_text("utf-8").splitlines()]
        for name in NAMES
    )
    assert (len(train), len(held_out)) == (make_orders.TRAIN_ROWS, make_orders.HELD_OUT_ROWS)
    for field in ("customer", "city"):
        assert not {row[field] for row in train} & {row[field] for row in held_out}
