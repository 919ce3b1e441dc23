"""The run, from a plan to a report. `run` reads top to bottom: one stage after the other.

A stage takes what it needs and returns a record. `Stages` takes the time, sends the events, and saves the record as
`<stage>.json` in the run folder, so that a part of the stages can be run again later:
`python -m framework stages=[evaluate,export] run_dir=outputs/quickstart/…`.
"""

from __future__ import annotations

import dataclasses
import functools
from contextlib import ExitStack

from framework.api.data import Data
from framework.api.events import ForecastUpdated, IssueFound, RunFinished, RunPlanned, RunStarted
from framework.api.plan import Plan
from framework.api.protocols import (
    AnyMetric,
    Backend,
    Evaluator,
    Exporter,
    KeepsCheckpoints,
    Model,
    ModelSource,
    RemoteTrainer,
)
from framework.api.records import DataResult, EvalResult, ExportResult, Forecast, Report, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.evaluate.measure import Measuring
from framework.hooks.session import Session, current
from framework.monitor.checks import check_data
from framework.monitor.truncated_answers import truncation_issues
from framework.plan.fit import check_fits
from framework.plan.forecast import Planner
from framework.plan.history import update_known_rows
from framework.plan.make import check_model
from framework.run.completed import CompletedStages, forget
from framework.run.events import Events
from framework.run.export import ExportError, check_exporters, export
from framework.run.interruption import Interruption
from framework.run.plan_transfer import check_distributed
from framework.run.report import comparable, make_report, pair
from framework.run.stages import Stages, naming_full_disk
from framework.run.training import TrainingController
from framework.run.training_reuse import TrainingReuse
from framework.rundir.folder import SCRATCH, WritableRunFolder, adds_exports, check_writable
from framework.util.errors import FrameworkError


def run(plan: Plan, remote_trainer: RemoteTrainer | None = None) -> Report | None:
    """Run the stages of a plan, and return the report; None without the report stage.

    Args:
        plan: the run.
        remote_trainer: trains instead of this process.

    Raises:
        FrameworkError: something the user can fix. Until the data stage is complete, nothing is left on disk.
    """
    session = current()  # once: a launcher, which is a plugin, calls this with nothing but the plan
    with Interruption(plan) as interruption, Events(plan, session) as events, naming_full_disk(plan):
        stages = Stages(plan.run_dir, events)
        with stages.run(Stage.plan):
            # A folder that cannot be written costs a second here, and the whole training afterwards.
            check_writable(plan.run_dir)
            # A plan alone may be asked for before the data are there.
            if plan.stages != (Stage.plan,):
                from framework.data.trial import try_sources  # noqa: PLC0415 - formats, which a plan does without

                try_sources(plan)
            plan, planner, expected = planned(plan, session)
            events.send(RunPlanned(plan))
            events.send(ForecastUpdated(expected))
            check_fits(plan, expected)
        if plan.stages == (Stage.plan,):
            if plan.config["run_dir"] is not None or plan.sweep:  # a question leaves no folder, unless it names one
                WritableRunFolder.create(plan).save_forecast(expected)
            return None
        with ExitStack() as stack:
            with session.progress.counting(None, "", "loading the libraries and the tokenizer"):
                backend: Backend = plan.trainer.create()
                model = stack.enter_context(backend.open(plan))
            check_distributed(plan, model)
            finished, failed = _run_stages(plan, session, planner, model, stages, events, interruption, remote_trainer)
            if failed:  # the loggers show what there is; for the hooks the run has failed
                events.show(finished)
                # A fault of a plugin keeps its own type and traceback.
                raise failed if isinstance(failed.__cause__, FrameworkError) else failed.__cause__ or failed
        events.send(finished)  # the memory of the model is free by now
        forget(plan.run_dir)  # last: a run that is killed while its loggers finish keeps its stages
        return finished.report


def planned(plan: Plan, session: Session) -> tuple[Plan, Planner, Forecast]:
    """Look at the model and return the plan, changed where `plan.apply` has it changed, and what the run takes.

    Raises:
        FrameworkError: the model is not there, or cannot be planned for.
    """
    source: ModelSource = plan.model.create()
    planner = Planner(source, session)
    plan = dataclasses.replace(plan, model_line=_model_line(source, plan))
    check_model(plan, source.config_json())
    plan, expected = planner.first(plan)
    return plan, planner, expected


def _model_line(source: ModelSource, plan: Plan) -> str:
    """Say what the model is; for a plan alone, its sizes are enough, which a source may know without the model.

    Raises:
        FrameworkError: the model is not available.
    """
    try:
        return source.check()
    except FrameworkError:
        if plan.stages != (Stage.plan,):
            raise
        names = ", ".join(source.config_json().get("architectures") or ())
        return f"{names}; it is not on this machine, so its sizes are those that come with the preset"


def _run_stages(
    plan: Plan,
    session: Session,
    planner: Planner,
    model: Model,
    stages: Stages,
    events: Events,
    interruption: Interruption,
    remote_trainer: RemoteTrainer | None,
) -> tuple[RunFinished, ExportError | None]:
    """Run the stages after the plan. One that is not selected is replaced by what an earlier run left, if it did.

    So is one that an earlier start of this run has completed, before it was interrupted. An error of an exporter is
    returned, not raised: the report comes first.
    """
    # All of them are made before the data are read: what a factory raises is to come before the long stages.
    metrics: dict[str, AnyMetric] = {name: choice.create() for name, choice in plan.metric.items()}
    evaluators: dict[str, Evaluator] = {name: choice.create() for name, choice in plan.evaluator.items()}
    exporters: dict[str, Exporter] = {name: choice.create() for name, choice in plan.exporter.items()}
    from framework.data.stage import load_data  # noqa: PLC0415 - numpy and Arrow, which a plan does without

    with stages.run(Stage.data):
        check_exporters(plan, model, exporters)
        data = load_data(plan, model)
        _check_goals(plan, data)
        rows = update_known_rows(plan, data.result, data.train)
        expected = planner.update(plan, rows)
        events.send(ForecastUpdated(expected))
        check_fits(plan, expected)
        if Stage.train not in plan.stages and {Stage.evaluate, Stage.export} & set(plan.stages):
            _check_weights(plan)
        # Read before `save` replaces it: it says which rows an earlier baseline was measured on.
        known = RunFolder(plan.run_dir).load_result(Stage.data, DataResult)
        measuring = Measuring(plan, model, data, evaluators, metrics, session)
        completed = CompletedStages(measuring)
        folder = WritableRunFolder.create(plan, completed.stages)  # from here on there is something on disk
        stages.save(data.result)
        if plan.is_new_run:
            folder.save_forecast(expected)
        events.send(RunStarted(plan, data.result, model.facts))

    # An export adds its artifacts to the report of a finished run, which is read early, in case it is damaged.
    earlier_report = folder.load_result(Stage.report, Report) if adds_exports(plan) else None
    reuse = TrainingReuse(measuring, completed.training())
    before = None
    # The base's answers to other rows are nothing to compare with.
    if known is not None and known.fingerprint == data.result.fingerprint:
        before = folder.load_result(Stage.baseline, EvalResult)
    if Stage.baseline in plan.stages:
        with stages.run(Stage.baseline), model.as_base():
            before = stages.save(before if before and Stage.baseline in completed.stages else measuring.base())
        completed.note(Stage.baseline, stages.seconds)

    # None if this run trains: `WritableRunFolder.create` has dropped what becomes out of date.
    trained = folder.load_result(Stage.train, TrainResult)
    if Stage.train in plan.stages:
        with interruption.training():
            with stages.run(Stage.train):
                controller = TrainingController(events, measuring, before, interruption)
                trained = stages.save(reuse.train(controller, plan.run_dir / SCRATCH, remote_trainer))
                if Stage.train not in completed.stages:
                    # The next plan of such a training knows how fast this device is.
                    planner.learn(plan, rows, trained)
            completed.note(Stage.train, stages.seconds, reuse.completed)
            if isinstance(model, KeepsCheckpoints):  # not before: a kill in between would cost the training
                model.forget_checkpoints()
    elif {Stage.evaluate, Stage.export} & set(plan.stages):
        model.restore(plan.checkpoint)

    after = folder.load_result(Stage.evaluate, EvalResult)
    if Stage.evaluate in plan.stages:
        with stages.run(Stage.evaluate):
            after = stages.save(reuse.measure(before))
        completed.note(Stage.evaluate, stages.seconds)
    before = comparable(before, after)
    issues = truncation_issues(plan, after, before, trained.steps if trained else 0) if after else []
    if Stage.evaluate in plan.stages:
        for issue in issues:
            events.send(IssueFound(issue, Stage.evaluate in completed.stages))
    if trained:  # the report has issues with the answers beside those of the training that they come from
        trained = dataclasses.replace(trained, issues=[*trained.issues, *issues])

    exported = folder.load_result(Stage.export, ExportResult)
    failed = None
    if Stage.export in plan.stages:
        training = None if plan.external_checkpoint else trained  # of weights from elsewhere it is not known
        known_so_far = (data.result, before, training, after)
        draft = functools.partial(make_report, plan, model.facts, {}, *known_so_far, None, session.plugins)
        try:
            with stages.run(Stage.export):
                # One result before each exporter: what is made is kept if the process is killed.
                for result in export(plan, model, exporters, data.prompts, draft, exported):
                    exported = stages.save(result)
        except ExportError as error:
            failed = error

    report = earlier_report
    if report and exported:
        artifacts, errors = exported.artifacts, exported.failed
        report = folder.save(Stage.report, dataclasses.replace(report, artifacts=artifacts, failed_exports=errors))
    if Stage.report in plan.stages:
        with stages.run(Stage.report):
            facts, seconds = reuse.facts, {**stages.seconds, **completed.seconds()}
            results = (data.result, before, trained, after, exported)
            report = make_report(plan, facts, seconds, *results, session.plugins)
            stages.save(report)
    return RunFinished(report, pair(before, after)), failed


def _check_goals(plan: Plan, data: Data) -> None:
    """Look whether the data have what the early stopping and the objective go by."""
    check_data(plan, data)
    if plan.objective == "eval_loss" and not data.validation and Stage.evaluate in plan.stages:
        share, rows = plan.data.config.validation_split, data.result.train_rows
        more = "set data.validation_split=0.1"
        if share and rows > 1:
            more = "all rows ask nearly the same, so training would answer any that are held out; give others"
        elif share:
            more = "a single row cannot be split; give more rows"
        other = f"objective={'|'.join([*plan.metric, 'train_loss'])}"
        raise FrameworkError(f"objective=eval_loss needs validation rows, but there are none: {more}, or {other}")


def _check_weights(plan: Plan) -> None:
    """Refuse to evaluate or export weights that are not there."""
    if plan.checkpoint.is_dir():
        return
    if plan.external_checkpoint:
        message = f"checkpoint={plan.config['checkpoint']}: there is no such folder"
    else:
        message = f"{plan.run_dir} holds no trained weights: run the train stage first, or give another run_dir"
    raise FrameworkError(message)
