"""Asks runs the prompts that only others of a comparison were asked, with the weights of each run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import chdir
from dataclasses import fields, replace
from pathlib import Path

from framework import FrameworkError, Selection, Stage
from framework.api import EvalResult, Message, Prompt, display_path, plugins
from framework.api.program import read_run, restored
from framework_plugins.evals.config import PromptsConfig
from framework_plugins.evals.prompts import Prompts


def ask_the_rest(folders: Sequence[Path]) -> tuple[dict[Path, EvalResult], list[str]]:
    """Ask runs the prompts that they left out; return their new evaluations by folder, and why others have none.

    Of a prompt, only the text of a single turn is saved. So a prompt of several turns is not asked.
    """
    results = {
        folder: result
        for folder in folders
        if (result := read_run(folder).record(EvalResult, f"{Stage.evaluate.value}.json")) is not None
    }
    largest = max(results.values(), key=lambda result: len(result.samples), default=None)
    updates, notes = dict[Path, EvalResult](), list[str]()
    for folder, result in results.items():
        if largest is None or len(result.samples) == len(largest.samples):
            continue
        pairs = zip(result.samples, largest.samples, strict=False)
        reason = ""
        if any((first.prompt, first.reference) != (second.prompt, second.reference) for first, second in pairs):
            reason = "it was asked other prompts"
        elif any(sample.prompt.startswith(("system: ", "user: ")) for sample in largest.samples):
            reason = "prompts of several turns are not saved as turns"
        else:
            try:
                updates[folder] = _ask_remaining(folder, result, largest)
            except FrameworkError as error:
                reason = str(error)
        if reason:
            notes.append(f"{display_path(folder)} was not asked more: {reason}")
    return updates, notes


def _ask_remaining(folder: Path, result: EvalResult, largest: EvalResult) -> EvalResult:
    run, setting_names = read_run(folder.absolute()), {field.name for field in fields(PromptsConfig)}
    config = next((options for options in run.config["evaluator"].values() if {*options} == setting_names), None)
    if config is None:
        raise FrameworkError("it has no evaluator=[prompts]")
    available = plugins().components("metric")
    metrics = {
        name: Selection(available[name], available[name].schema(**options)).create()
        for name, options in run.config["metric"].items()
        if name in available
    }
    prompts = [Prompt((Message("user", sample.prompt),), sample.reference) for sample in largest.samples]
    with chdir(Path.cwd()), restored(run) as (_, model):  # which changes the folder
        answered = Prompts(PromptsConfig(**config)).answered(
            model, prompts, metrics, 1.0, len(prompts), result, [], frozenset()
        )
    measures = {
        # That it looked several times stays true, and which prompts are similar is known by the run that asked them.
        name: replace(measure, look_share=earlier.look_share, clusters=largest.measures.get(name, measure).clusters)
        for name, measure in answered.measures.items()
        if (earlier := result.measures.get(name)) is not None
    }
    return replace(result, measures=result.measures | measures, samples=answered.samples)
