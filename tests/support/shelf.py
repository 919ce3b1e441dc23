"""A model of which there is only the config, and plans of it for `trainer=hf`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.api.plan import Plan
from framework.api.protocols import ModelPlace, ModelSource
from framework.api.records import Forecast
from framework.hooks.session import current
from framework.plan.forecast import Planner
from framework.plan.make import make_plan
from framework.rundir.known import KnownRows
from framework.testing import compose

ROWS = KnownRows(rows=1000, tokens=400_000, supervised_tokens=100_000, p99=700, longest=800)


class Shelf(ModelSource):
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


def rows_of(run: Plan) -> Path | None:
    """Return where the rows of a run are kept for the next plan."""
    return Planner(run, Shelf({}), current()).rows_file


def first(model: Shelf, run: Plan) -> tuple[Plan, Forecast]:
    """Return what a run takes before its data are read, and the plan as `plan.apply` has changed it."""
    planner = Planner(run, model, current())
    told = planner.first()
    return planner.plan, told


def with_rows(model: Shelf, run: Plan, rows: KnownRows) -> Planner:
    """Return the planner of a run whose rows are known."""
    planner = Planner(run, model, current())
    planner.rows = rows
    return planner
