"""The trained model of a run folder, as `evaluate.json` has it."""

from __future__ import annotations

from pathlib import Path

from framework import FrameworkError, Stage
from framework.api import Aspect, EvalResult, MeasureKind, Report, display_path, number
from framework.api.program import read_run
from framework_plugins.evals.comparison.evaluations import Evaluation, Item, Scores, content


def read(folder: Path) -> Evaluation:
    """Read the evaluation of the trained model.

    Raises:
        FrameworkError: the folder is not that of a run, or its model was not evaluated.
    """
    run = read_run(folder)
    result = run.record(EvalResult, f"{Stage.evaluate.value}.json")
    if result is None:
        raise FrameworkError(
            f"{display_path(folder)}: the trained model was not evaluated: "
            f"python -m framework resume {display_path(folder)}"
        )
    report = run.record(Report, "report.json")
    found = Evaluation(display_path(folder), "run", clustered=True)
    left_out = []
    for name, measure in result.measures.items():
        if not measure.items or measure.aspect is Aspect.copying or measure.kind is MeasureKind.change:
            left_out.append(name)
            continue
        keys = [f"{measure.item} {place}" for place in range(len(measure.items))]
        if len(result.samples) == len(measure.items) and measure.item == "prompt":
            for key, sample in zip(keys, result.samples, strict=True):
                found.items[key] = Item(content(sample.prompt, sample.reference))
        else:
            keys = [f"{name} {key}" for key in keys]
            places = measure.where or [""] * len(keys)
            found.items |= {key: Item(place and content(place)) for key, place in zip(keys, places, strict=True)}
        change = report.metrics.get(name) if report else None
        found.measures[name] = Scores(
            measure,
            keys,
            measure.higher_is_better,
            number(measure.value, name, measure.unit),
            measure.stderr,
            candidates=change.candidates if change else 1,
        )
    if left_out:
        found.notes.append(f"not compared: {', '.join(left_out)}; neither better nor worse, or without items")
    return found
