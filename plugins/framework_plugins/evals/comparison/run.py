"""The trained model of a run folder, as `evaluate.json` has it."""

from __future__ import annotations

from pathlib import Path

from framework import FrameworkError, Stage
from framework.api import Aspect, EvalResult, MeasureKind, Report, display_path, number
from framework.api.program import read_run
from framework_plugins.evals.comparison.evaluations import Evaluation, Item, Scores, content


def read(folder: Path, newer: EvalResult | None = None) -> Evaluation:
    """Read the evaluation of the trained model; `newer` takes its place if the model was asked more since.

    Raises:
        FrameworkError: the folder is not that of a run, or its model was not evaluated.
    """
    run = read_run(folder)
    result = newer or run.record(EvalResult, f"{Stage.evaluate.value}.json")
    if result is None:
        raise FrameworkError(
            f"{display_path(folder)}: the trained model was not evaluated: "
            f"python -m framework resume {display_path(folder)}"
        )
    report = run.record(Report, "report.json")
    evaluation = Evaluation(display_path(folder), "run", clustered=True)
    left_out = []
    for name, measure in result.measures.items():
        if not measure.items or measure.aspect is Aspect.copying or measure.kind is MeasureKind.change:
            left_out.append(name)
            continue
        # The answers to the task's prompts are saved; of other items, the place of their row may be known.
        answered = measure.aspect is Aspect.task and measure.kind is not MeasureKind.loss
        keys = [f"{'prompt' if answered else name} {index + 1}" for index in range(len(measure.items))]
        contents = [row_name and content(row_name) for row_name in measure.where or [""] * len(keys)]
        if answered and result.samples:  # prompts whose references were read have no sample
            sample_contents = [content(sample.prompt, sample.reference) for sample in result.samples[: len(keys)]]
            contents = sample_contents + [""] * (len(keys) - len(sample_contents))
        evaluation.items |= {
            key: Item(item_content)
            for key, item_content in zip(keys, contents, strict=True)
            if item_content or key not in evaluation.items
        }
        change = report.metrics.get(name) if report else None
        evaluation.measures[name] = Scores(
            measure,
            keys,
            measure.higher_is_better,
            number(measure.value, name, measure.unit),
            measure.stderr,
            candidates=change.candidates if change else 1,
        )
    if left_out:
        evaluation.notes.append(f"not compared: {', '.join(left_out)}; neither better nor worse, or without items")
    return evaluation
