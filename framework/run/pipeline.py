"""The run, from a plan to a report. `run` reads top to bottom: one stage after the other.

Every stage saves its result as `<stage>.json` in the run folder, so a part can be run again later:
`python -m framework stages=[evaluate,export] run_dir=outputs/quickstart/…`. Loggers of the run and hooks of every
plugin are told of each step; neither ends a run by failing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.protocols import (
    AnyMetric,
    Backend,
    CheckedExporter,
    Elsewhere,
    Evaluator,
    ExportContext,
    Exporter,
    Model,
    ModelSource,
    OrderedExporter,
    ReusableExporter,
)
from framework.api.records import DataResult, EvalResult, ExportResult, Forecast, Prompt, Report, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.data.checks import check_sources
from framework.evaluate.measure import Measuring
from framework.hooks.manager import notify
from framework.monitor.checks import check_data
from framework.monitor.truncated_answers import unended
from framework.plan.fit import check_fits
from framework.plan.forecast import Planner
from framework.plan.history import rows_found
from framework.plan.make import check_model
from framework.run.clock import Clock
from framework.run.export import Exports
from framework.run.loggers import Broadcast
from framework.run.plan_transfer import check_divisible
from framework.run.report import comparable, draft_report, make_report, pair
from framework.run.training import Course
from framework.run.training_reuse import SameTraining
from framework.rundir.folder import WritableRunFolder, check_writable
from framework.util.errors import FrameworkError

SCRATCH = ".trainer.part"


def run(plan: Plan, elsewhere: Elsewhere | None = None) -> Report | None:
    """Run the stages of a plan; None where the report stage is not among them.

    Args:
        plan: the run.
        elsewhere: trains in the place of this process.

    Raises:
        FrameworkError: something the user can mend. Until the data stage is through, nothing is left on disk.
    """
    loggers = Broadcast(plan.logger)
    clock = Clock(plan, loggers)
    try:
        with clock.stage(Stage.plan):
            check_writable(plan.run_dir)
            if plan.stages != (Stage.plan,):
                check_sources(plan)
            plan, planner, expected = planned(plan)
            loggers.planned(plan)
            _check_fits(plan, expected, loggers)
        if plan.stages == (Stage.plan,):
            WritableRunFolder.create(plan).save_forecast(expected)
            return None
        backend: Backend = plan.trainer.create()
        with backend.open(plan) as model:
            check_divisible(plan, model)
            report = _run_stages(plan, planner, model, loggers, clock, elsewhere)
        notify("framework_run_finished", plan=plan, report=report)
    except BaseException as error:
        loggers.failed(error)
        notify("framework_run_failed", plan=plan, error=error)
        raise
    else:
        return report
    finally:
        loggers.close()


def planned(plan: Plan) -> tuple[Plan, Planner, Forecast]:
    """Look at the model and return the plan, changed where `plan.apply` has it changed, and what the run takes.

    Raises:
        FrameworkError: the model is not there, or cannot be planned for.
    """
    source: ModelSource = plan.model.create()
    planner = Planner(source)
    plan = dataclasses.replace(plan, model_line=source.check())
    check_model(plan, source.config_json())
    plan, expected = planner.first(plan)
    return plan, planner, expected


def _run_stages(
    plan: Plan, planner: Planner, model: Model, loggers: Broadcast, clock: Clock, elsewhere: Elsewhere | None
) -> Report | None:
    metrics: dict[str, AnyMetric] = {name: choice.create() for name, choice in plan.metric.items()}
    evaluators: dict[str, Evaluator] = {name: choice.create() for name, choice in plan.evaluator.items()}
    exporters: dict[str, Exporter] = {name: choice.create() for name, choice in plan.exporter.items()}
    from framework.data.stage import load_data  # noqa: PLC0415 - numpy and Arrow, which a plan does without

    with clock.stage(Stage.data):
        check_exports(plan, model, exporters)
        data = load_data(plan, model)
        _check_goals(plan, data)
        rows = rows_found(plan, data.result, data.train)
        expected = planner.again(plan, rows)
        _check_fits(plan, expected, loggers)
    folder, before = _start(plan, expected, data, model.facts, loggers)
    clock.finished(Stage.data, data.result)
    measuring = Measuring(plan, model, data, evaluators, metrics)
    same = SameTraining(measuring)
    if Stage.baseline in plan.stages:
        with clock.stage(Stage.baseline), model.as_base():
            before = folder.save(Stage.baseline, measuring.base())
        clock.finished(Stage.baseline, before)
        loggers.evaluated(before, before=True)

    trained = folder.earlier(Stage.train, TrainResult)
    if Stage.train in plan.stages:
        with clock.stage(Stage.train):
            course = Course(plan, loggers, measuring, before)
            trained = folder.save(Stage.train, same.train(course, plan.run_dir / SCRATCH, elsewhere))
        planner.learn(plan, rows, trained)
        clock.finished(Stage.train, trained)
    elif {Stage.evaluate, Stage.export} & set(plan.stages):
        model.restore(plan.checkpoint)

    after = folder.earlier(Stage.evaluate, EvalResult)
    nulls = folder.nulls()
    if Stage.evaluate in plan.stages:
        with clock.stage(Stage.evaluate):
            after, nulls = same.measure(compared=before is not None)
            folder.save(Stage.evaluate, after)
            folder.save_nulls(nulls)
        clock.finished(Stage.evaluate, after)
        loggers.evaluated(after, before=False)
        for trouble in unended(plan, after, comparable(before, after), trained.steps if trained else 0):
            loggers.trouble(trouble)

    exported = folder.earlier(Stage.export, ExportResult)
    if Stage.export in plan.stages:
        with clock.stage(Stage.export):
            exported = export(plan, model, exporters, data.prompts, folder, exported)
        clock.finished(Stage.export, exported)

    if Stage.report not in plan.stages:
        return None
    before = comparable(before, after)
    with clock.measure(Stage.report):  # a moment; the loggers get the report itself
        report = make_report(plan, same.facts, clock.seconds, data.result, before, trained, after, nulls, exported)
        folder.save(Stage.report, report)
    clock.finished(Stage.report, report)
    loggers.finished(report, pair(before, after))
    return report


def _check_fits(plan: Plan, expected: Forecast, loggers: Broadcast) -> None:
    loggers.forecast(expected)
    check_fits(plan, expected)


def _start(
    plan: Plan, expected: Forecast, data: Data, facts: Mapping[str, str], loggers: Broadcast
) -> tuple[WritableRunFolder, EvalResult | None]:
    """Make the run folder, now that the data are checked; return it and what an earlier baseline measured on them."""
    if Stage.train not in plan.stages and {Stage.evaluate, Stage.export} & set(plan.stages):
        _check_exists(plan)
    known = RunFolder(plan.run_dir).earlier(Stage.data, DataResult)
    folder = WritableRunFolder.create(plan)
    folder.save(Stage.data, data.result)
    loggers.started(plan.run_dir, data.result, facts)
    notify("framework_run_started", plan=plan)
    if plan.is_new_run:
        folder.save_forecast(expected)
    same_data = known is not None and known.fingerprint == data.result.fingerprint
    return folder, folder.earlier(Stage.baseline, EvalResult) if same_data else None


def export(
    plan: Plan,
    model: Model,
    exporters: Mapping[str, Exporter],
    prompts: Sequence[Prompt],
    folder: WritableRunFolder,
    earlier: ExportResult | None = None,
) -> ExportResult:
    """Run the exporters, each after those whose artifacts it uses; what was made is saved where one fails, too.

    What an earlier export left of the same weights is there to be used, and one that is costly is not made again.
    """
    exports = Exports(plan, earlier)
    kept: dict[str, Any] = {}
    for name in in_order(exporters):
        exporter = exporters[name]
        if isinstance(exporter, ReusableExporter) and exporter.reusable and exports.again(name):
            continue
        folder.save(Stage.export, exports.result())
        artifacts = exports.artifacts
        draft = functools.partial(draft_report, plan, model.facts)
        context = ExportContext(plan.run_dir, plan.checkpoint, plan.config, plan, artifacts, prompts, draft, kept)
        exports.add(name, exporter.export(model, context))
    return folder.save(Stage.export, exports.result())


def check_exports(plan: Plan, model: Model, exporters: Mapping[str, Exporter]) -> None:
    """Ask the exporters that can tell whether they will be able to export this model, before hours of training.

    Raises:
        FrameworkError: one will not.
    """
    for exporter in exporters.values():
        if isinstance(exporter, CheckedExporter) and Stage.export in plan.stages:
            exporter.check(model, plan)


def in_order(exporters: Mapping[str, Exporter]) -> list[str]:
    """Return the names of exporters, those that others come after first; else the order they were chosen in."""
    sorter = TopologicalSorter(
        {
            name: [other for other in exporters if other in exporter.after]
            if isinstance(exporter, OrderedExporter)
            else []
            for name, exporter in exporters.items()
        }
    )
    return list(sorter.static_order())


def _check_goals(plan: Plan, data: Data) -> None:
    """Look whether the data have what the early stopping and the objective go by."""
    check_data(plan, data)
    if plan.objective == "eval_loss" and not data.validation and Stage.evaluate in plan.stages:
        share, rows = plan.data.config.validation_split, data.result.train_rows
        more = "set data.validation_split=0.1"
        if share and rows > 1:
            more = "all rows ask nearly the same, so none can be held out that training does not answer; give others"
        elif share:
            more = "a single row is not split, give more of them"
        other = f"objective={'|'.join([*plan.metric, 'train_loss'])}"
        message = f"objective=eval_loss needs validation rows, and there are none: {more}, or {other}"
        raise FrameworkError(message)


def _check_exists(plan: Plan) -> None:
    if plan.checkpoint.is_dir():
        return
    if plan.given:
        message = f"checkpoint={plan.config['checkpoint']}: there is no such folder"
    else:
        message = f"{plan.run_dir} holds no trained weights: run the train stage first, or give another run_dir"
    raise FrameworkError(message)
