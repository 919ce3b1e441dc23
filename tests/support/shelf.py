"""A model of which there is only the config, and plans of it for `trainer=hf`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.api.plan import Plan
from framework.api.protocols import ModelPlace
from framework.plan.history import KnownRows
from framework.plan.make import make_plan
from framework.testing import compose

ROWS = KnownRows(rows=1000, tokens=400_000, supervised_tokens=100_000, p99=700, longest=800)


class Shelf:
    """A model of which there is only the config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def check(self) -> str:
        """Say what it is."""
        return "a model"

    def config_json(self) -> Mapping[str, Any]:
        """Give the config."""
        return self.config

    def fetch(self, *, weights: bool) -> ModelPlace:
        """Give the folder."""
        del weights
        return ModelPlace(Path(), "shelf")


def plan(folder: Path, *words: str) -> Plan:
    """Return a plan of `trainer=hf`."""
    every = ["+experiment=llama8b_qlora", "data=local_file", "data.path=rows.jsonl", *words]
    return make_plan(compose(every), run_dir=folder / "run", overrides=tuple(every))
