"""Whether a plan can run here: what a run does before it reads a weight, each step in another process.

Every chosen option is imported, the folder is written to, the model is looked up, and the trainer opens it. The first
of these that fails ends it: what comes after would fail too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from framework import FrameworkError, Plan, Selection, Stage
from framework.api import DiagnosticResult, State, display_path, missing, pip_command
from framework.api.program import check_model, check_writable
from framework.api.training import Backend, ModelSource
from framework_plugins.doctor import DiagnosticRecord, checked
from framework_plugins.doctor.worker import DiagnosticProcess

TOPIC = "this run"
THIS_MODULE = "framework_plugins.doctor.run"
STEP_SECONDS = 180.0
"""For a step: the first one imports torch, which takes minutes on a busy machine. A plugin may try the model's kind out
on a small one, and the quickstart's model has to be converted first."""


def run(plan: Plan, worker: DiagnosticProcess) -> Iterator[DiagnosticRecord]:
    """Look at what the plan chose, step by step."""
    for record in (folder(plan), *requirements(plan)):
        yield record
        if record.blocks:
            return
    start = time.perf_counter()
    # What has to be imported before others is loaded first: all share one process, as in the run.
    for name, choice in sorted(plan.selections.items(), key=lambda item: not item[1].component.import_order):
        record = _check(worker, f"{name}={choice.component.name}", "load", choice)
        if record.state is not State.ok:
            yield record
        if record.blocks:
            return
    every = DiagnosticResult(State.ok, "all selected options can be imported")
    yield checked("options", TOPIC, every, needed=True, seconds=time.perf_counter() - start)
    steps = [("model", "model"), ("trainer", "opened")]
    for name, function in steps if plan.stages != (Stage.plan,) else steps[:1]:
        record = _check(worker, name, function, plan)
        yield record
        if record.blocks:
            return


def _check(worker: DiagnosticProcess, name: str, function: str, part: Plan | Selection) -> DiagnosticRecord:
    start = time.perf_counter()
    result = worker.ask(f"{THIS_MODULE}:{function}", part, seconds=STEP_SECONDS)
    return checked(name, TOPIC, result or DiagnosticResult(State.ok), needed=True, seconds=time.perf_counter() - start)


def folder(plan: Plan) -> DiagnosticRecord:
    """Try to write the run folder, and remove it again."""
    try:
        check_writable(plan.run_dir)
    except FrameworkError as error:
        return checked("run folder", TOPIC, DiagnosticResult(State.broken, str(error)), needed=True)
    return checked(
        "run folder", TOPIC, DiagnosticResult(State.ok, f"can be made: {display_path(plan.run_dir)}"), needed=True
    )


def requirements(plan: Plan) -> Iterator[DiagnosticRecord]:
    """Name the options that lack a library.

    The check of a model source knows better than a list whether the model is available, as it may be there already, and
    that of an exporter, which the plan has passed, whether it can do with a part of its extra.
    """
    for name, choice in plan.selections.items():
        extras = [extra for extra in choice.component.extras if missing([extra])]
        if extras:
            needed = name.partition(".")[0] not in {"model", "exporter"}
            detail = f"not installed{'' if needed else ', and not required here'}: {', '.join(missing(extras))}"
            result = DiagnosticResult(State.missing, detail, fix=pip_command(extras))
            yield checked(f"{name}={choice.component.name}", TOPIC, result, needed=needed)


def load(choice: Selection) -> DiagnosticResult:
    """Import the code of an option."""
    choice.component.load()
    return DiagnosticResult(State.ok)


def model(plan: Plan) -> DiagnosticResult:
    """Look the model up, without its weights."""
    source: ModelSource = plan.model.create()
    line = source.check()
    check_model(plan, source.config_json())
    return DiagnosticResult(State.ok, line)


def opened(plan: Plan) -> DiagnosticResult:
    """Let the trainer open the model: it reads config and tokenizer, picks what suits the machine, loads no weights."""
    backend: Backend = plan.trainer.create()
    with backend.open(plan) as opened_model:
        facts = "; ".join(f"{name} {text}" for name, text in opened_model.facts.items())
    return DiagnosticResult(State.ok, facts)
