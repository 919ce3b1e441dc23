"""Asks runs the prompts that only others of a comparison were asked, with the weights of each run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import chdir
from dataclasses import fields, replace
from pathlib import Path

from framework import FrameworkError, Selection, Stage
from framework.api import EvalResult, Message, Prompt, Sample, components, display_path
from framework.api.program import read_run, restored
from framework_plugins.evals.config import PromptsConfig
from framework_plugins.evals.prompts import Prompts


def ask_the_rest(folders: Sequence[Path]) -> tuple[dict[Path, EvalResult], list[str]]:
    """Return the evaluations of the runs that were asked more, by their folders, and why others were not.

    Of a prompt, only the text of a single turn is saved. So a prompt of several turns is not asked.
    """
    results = {
        folder: result
        for folder in folders
        if (result := read_run(folder).record(EvalResult, f"{Stage.evaluate.value}.json")) is not None
    }
    most = max(results.values(), key=lambda result: len(result.samples), default=None)
    found, notes = dict[Path, EvalResult](), list[str]()
    for folder, result in results.items():
        if most is None or len(result.samples) == len(most.samples):
            continue
        pairs = zip(result.samples, most.samples, strict=False)
        reason = ""
        if any(_asked(one) != _asked(other) for one, other in pairs):
            reason = "it was asked other prompts"
        elif any(sample.prompt.startswith(("system: ", "user: ")) for sample in most.samples):
            reason = "prompts of several turns are not saved as turns"
        else:
            try:
                found[folder] = _asked_more(folder, result, most)
            except FrameworkError as error:
                reason = str(error)
        if reason:
            notes.append(f"{display_path(folder)} was not asked more: {reason}")
    return found, notes


def _asked(sample: Sample) -> tuple[str, str | None]:
    return sample.prompt, sample.reference


def _asked_more(folder: Path, result: EvalResult, most: EvalResult) -> EvalResult:
    run, settings = read_run(folder.absolute()), {each.name for each in fields(PromptsConfig)}
    config = next((held for held in run.config["evaluator"].values() if {*held} == settings), None)
    if config is None:
        raise FrameworkError("it has no evaluator=[prompts]")
    known = components("metric")
    metrics = {
        name: Selection(known[name], known[name].schema(**held)).create()
        for name, held in run.config["metric"].items()
        if name in known
    }
    prompts = [Prompt((Message("user", sample.prompt),), sample.reference) for sample in most.samples]
    with chdir(Path.cwd()), restored(run) as (_, model):  # which changes the folder
        more = Prompts(PromptsConfig(**config)).answered(
            model, prompts, metrics, 1.0, len(prompts), result, [], frozenset()
        )
    measures = {
        # That it looked several times stays true, and which prompts are similar is known by the run that asked them.
        name: replace(one, look_share=earlier.look_share, clusters=most.measures.get(name, one).clusters)
        for name, one in more.measures.items()
        if (earlier := result.measures.get(name)) is not None
    }
    return replace(result, measures=result.measures | measures, samples=more.samples)
