"""The run, from a plan to a report. `run` reads top to bottom: one stage after the other.

A stage takes what it needs and returns a record. `Stages` takes the time, sends the events, and saves the record as
`<stage>.json` in the run folder, so that a part of the stages can be run again later:
`python -m framework stages=[evaluate,export] run_dir=outputs/quickstart/…`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from framework.api.data import answer_rows
from framework.api.events import ForecastUpdated, IssueFound, RunFinished, RunPlanned, RunStarted
from framework.api.plan import Judging, Plan
from framework.api.protocols import (
    AnyMetric,
    Backend,
    ExportContext,
    Exporter,
    Feature,
    Model,
    ModelSource,
    RemoteTrainer,
)
from framework.api.records import DataResult, EvalResult, ExportResult, Measure, Report, TrainResult
from framework.api.run_folder import PLAN, RunFolder, check_weights
from framework.api.schema import Stage
from framework.api.selection import Selection
from framework.api.text import count
from framework.evaluate.again import Earlier, new_evaluators
from framework.evaluate.checked import CheckedEvaluator
from framework.evaluate.deciding import deciding, with_deciding
from framework.evaluate.measure import Measuring
from framework.hooks.session import current
from framework.monitor.checks import check_answers, check_data, check_validation
from framework.monitor.truncated_answers import truncation_issues
from framework.plan.forecast import Planner
from framework.plan.make import check_model
from framework.run.export import ExportError, export, fingerprint
from framework.run.interruption import Interruption, ending_children
from framework.run.report import comparable, make_report, pair
from framework.run.reuse import CompletedStages, TrainingReuse, earlier_answers_at_once, forget
from framework.run.stages import Events, Stages, naming_full_disk
from framework.run.training import TrainingController
from framework.rundir.folder import SCRATCH, WritableRunFolder, check_writable
from framework.rundir.known import size_of
from framework.rundir.store import mirrored
from framework.util.errors import FrameworkError
from framework.util.guard import Guard, is_limit


def run(
    plan: Plan, remote_trainer: RemoteTrainer | None = None, opened: Callable[[Model], None] = lambda _: None
) -> Report | None:
    """Run the stages of a plan, and return the report; None without the report stage.

    Args:
        plan: the run.
        remote_trainer: trains instead of this process.
        opened: is given the model.

    Raises:
        FrameworkError: something the user can fix. Until the data stage is complete, nothing is left on disk.
    """
    session = current()  # once: a launcher, which is a plugin, calls this with nothing but the plan
    run_dir, resumed = plan.run_dir, plan.run_dir.parent if plan.sweep else plan.run_dir
    with (
        Interruption(run_dir, resumed, plan.settings.grace_seconds) as interruption,
        mirrored(plan.store, run_dir, plan.settings.store_seconds),
        Events(plan, session) as events,
        naming_full_disk(run_dir, resumed),
        ending_children(),
    ):
        stages = Stages(run_dir, events)
        with stages.run(Stage.plan):
            # A folder that cannot be written costs a second here, and the whole training afterwards.
            check_writable(run_dir)
            # `make_plan` has looked for weights elsewhere.
            lacks_weights = plan.restores_weights and not plan.checkpoint.is_dir()
            lacks_run = plan.stages == (Stage.report,) and not (run_dir / PLAN).exists()
            if lacks_weights or lacks_run:
                lacking = "no trained weights" if lacks_weights else "no run to report on"
                state = f"{run_dir} holds {lacking}" if run_dir.is_dir() else f"the folder {run_dir} does not exist"
                raise FrameworkError(f"{state}: run the train stage first, or give another run_dir")
            from framework.data import trial  # noqa: PLC0415 - formats, which `--help` does without

            size = size_of(plan.data)
            decides, absent, estimated = "", "", None  # a run that reads all rows says it in its data stage
            # The plan by itself may be asked for before the data are there.
            if size or plan.stages != (Stage.plan,):
                first_rows = trial.try_sources(plan.data, plan.format, plan.method, plan.overrides)
                split, longest = plan.data.config.validation_split, plan.training.max_seq_length
                estimated = first_rows.estimate(size, split, longest)
            if plan.stages == (Stage.plan,):
                read = functools.partial(trial.first_references, plan.data, plan.format, plan.method, plan.evaluator)
                decides = _decides_line(plan.judging, read)
                absent = "" if size else trial.absent(plan.data)
            source: ModelSource = plan.model.create()
            line = _model_line(source, needed=plan.stages != (Stage.plan,))
            plan = dataclasses.replace(plan, model_line=line, decides_line=decides, data_line=absent)
            check_model(plan, source.config_json())
            planner = Planner(plan, source, session)
            expected = planner.first(estimated, earlier_answers_at_once(plan))
            plan = planner.plan  # as `plan.apply` and `answers_at_once=auto` have changed it
            events.send(RunPlanned(plan))
            events.send(ForecastUpdated(expected))
            planner.check_fits(expected)
        if plan.stages == (Stage.plan,):
            if plan.config["run_dir"] is not None or plan.sweep:  # a question leaves no folder, unless it names one
                WritableRunFolder.create(plan).save_forecast(expected)
            return None
        with ExitStack() as stack:
            with session.progress.counting(None, "", "loading the libraries and the tokenizer"):
                backend: Backend = plan.trainer.create()
                model = checked(stack.enter_context(backend.open(plan)), plan.trainer.component.name)
            opened(model)
            if Stage.train in plan.stages:
                check_distributed(plan.launch, plan.trainer, model)
                check_objective(plan.method, plan.loss, plan.trainer, model)
            finished, failed = _run_stages(planner, model, stages, events, interruption, remote_trainer)
            if failed:  # the loggers show what there is; for the hooks the run has failed
                events.show(finished)
                cause = failed.__cause__
                raise cause if cause and is_limit(cause) else failed
        events.send(finished)  # the memory of the model is free by now
        forget(run_dir)  # last: a run that is killed while its loggers finish keeps its stages
        return finished.report


def checked(model: Model, trainer: str) -> Model:
    """Return what the backend of `trainer=` opened.

    Raises:
        FrameworkError: it is no `Model`.
    """
    if not isinstance(model, Model):
        kind = type(model).__name__
        raise FrameworkError(f"trainer={trainer} opened a {kind}: let {kind} subclass framework.api.Model")
    return model


def _model_line(source: ModelSource, *, needed: bool) -> str:
    """Say what the model is. A source may know its sizes without it: if only the plan is asked for, they are enough.

    Raises:
        FrameworkError: the model is needed, and is not available.
    """
    try:
        return source.check()
    except FrameworkError:
        if needed:
            raise
        names = ", ".join(source.config_json().get("architectures") or ())
        return f"{names}; it is not on this machine, so its sizes are those that come with the preset"


def _decides_line(judging: Judging, references: Callable[[], Sequence[str]]) -> str:
    """Say which metric will decide about the gain, and why, by the first rows; empty if they are not there yet."""
    try:
        reference_texts = references()
        name, why = deciding(
            judging, {metric: choice.create() for metric, choice in judging.metrics.items()}, reference_texts
        )
    except FrameworkError:
        return ""
    judged = "" if judging.primary else f", judging by {count(len(reference_texts), 'reference')}"
    return f"{name}: {why}{judged}" if name else ""


def _run_stages(
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
    plan, session = planner.plan, planner.session
    # All of them are made before the data are read: what a factory raises is to come before the long stages.
    metrics: dict[str, AnyMetric] = {name: choice.create() for name, choice in plan.metric.items()}
    evaluators = {name: CheckedEvaluator(name, choice.create()) for name, choice in plan.evaluator.items()}
    exporters: dict[str, Exporter] = {name: choice.create() for name, choice in plan.exporter.items()}
    from framework.data.stage import load_data  # noqa: PLC0415 - numpy and Arrow, which a plan does without
    from framework.run.choosing import Choosing, with_control  # noqa: PLC0415 - as above

    with stages.run(Stage.data):
        for exporter_name, exporter in exporters.items() if Stage.export in plan.stages else ():
            with Guard(f"exporter={exporter_name}"):
                exporter.check(model, plan)  # before hours of training
        data, metrics = with_deciding(load_data(plan, model), plan.judging, metrics, evaluators)
        if Stage.train in plan.stages:
            if not plan.method.config.samples:
                check_answers(plan.method.component.name, plan.trainer.component.name, data)
            check_data(plan.training, plan.set_losses, data)
        measured_by_loss = (
            plan.objective_by(data.result.decides) == Measure.EVAL_LOSS and not plan.method.config.samples
        )
        if Stage.evaluate in plan.stages and measured_by_loss:
            check_validation(data, plan.data.config.validation_split, plan.metric)
        expected = planner.update(data.result, answer_rows(data.train_groups))
        events.send(ForecastUpdated(expected))
        planner.check_fits(expected)
        # Read before `save` replaces it: it says which rows an earlier baseline was measured on.
        earlier_data = RunFolder(plan.run_dir).load_result(Stage.data, DataResult)
        if plan.only_exports and earlier_data:  # what the weights were trained on stays, whatever the data are now
            data = dataclasses.replace(data, result=earlier_data)
        measuring = Measuring(plan, model, data, evaluators, metrics, session)
        completed = CompletedStages(measuring)
        earlier = Earlier.of(plan, earlier_data, data.result)
        # From here on there is something on disk.
        folder = WritableRunFolder.create(plan, {*completed.stages, *earlier.stages})
        if plan.is_new_run:
            folder.save_forecast(expected)
        stages.save(data.result)
        events.send(RunStarted(plan, data.result, model.facts))

    # An export adds its artifacts to the report of a finished run, which is read early, in case it is damaged.
    earlier_report = folder.load_result(Stage.report, Report) if plan.only_exports else None
    reuse = TrainingReuse(measuring, completed.training())
    choosing: Choosing | None = None
    if Stage.train in plan.stages and plan.method.create().control is not None:
        choosing = Choosing(measuring, lambda issue: events.send(IssueFound(issue)))
    before = None
    # The base's answers to other rows are nothing to compare with.
    if earlier_data is not None and earlier_data.fingerprint == data.result.fingerprint:
        before = folder.load_result(Stage.baseline, EvalResult)
    if Stage.baseline in plan.stages:
        with stages.run(Stage.baseline):
            if before is None or Stage.baseline not in completed.stages:
                before = earlier.with_baseline(measuring.before(), evaluators)
            stages.save(before)
        completed.note(Stage.baseline, stages.seconds)
    elif earlier.before and (new := new_evaluators(measuring, earlier.before)):
        with stages.run(Stage.baseline):
            before = stages.save(earlier.with_baseline(measuring.only(new).before(), new))

    # None if this run trains: `WritableRunFolder.create` has dropped what becomes out of date.
    trained = folder.load_result(Stage.train, TrainResult)
    if Stage.train in plan.stages:
        with interruption.training():
            with stages.run(Stage.train):
                rows = choosing.rows if choosing else None
                controller = TrainingController(events, measuring, before, interruption, rows)
                trained = reuse.train(controller, plan.run_dir / SCRATCH, remote_trainer)
                if choosing:
                    trained = dataclasses.replace(trained, issues=[*choosing.issues, *trained.issues])
                stages.save(trained)
                if Stage.train not in completed.stages:
                    # The next plan of such a training knows how fast this device is.
                    planner.learn(trained)
            completed.note(Stage.train, stages.seconds, reuse.completed)
            model.forget_checkpoints()  # not before: a kill in between would cost the training
    elif plan.restores_weights:
        check_weights(plan.checkpoint)
        model.restore(plan.checkpoint)

    after = folder.load_result(Stage.evaluate, EvalResult)
    if Stage.evaluate in plan.stages:
        with stages.run(Stage.evaluate):
            after = reuse.measure(before)
            if choosing and before and choosing.method.control and Stage.evaluate not in completed.stages:
                after = with_control(choosing, measuring, before, after, interruption, remote_trainer)
            after = dataclasses.replace(after, weights=fingerprint(plan.checkpoint))
            after = stages.save(earlier.with_evaluation(after, evaluators))
        completed.note(Stage.evaluate, stages.seconds)
    before = comparable(before, after)
    answers = pair(before, after)
    issues = []
    if after:
        steps, known = (trained.steps, trained.issues) if trained else (0, [])
        issues = truncation_issues(plan.settings.health.truncated_answers, after, before, steps, known)
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
        checkpoint = model.published(plan.checkpoint)
        context = ExportContext(plan.run_dir, checkpoint, plan.config, plan, prompts=data.prompts, report=draft)
        try:
            with stages.run(Stage.export):
                # One result before each exporter: what is made is kept if the process is killed.
                for result in export(model, exporters, context, exported):
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
    return RunFinished(report, answers), failed


def check_objective(method: Selection, loss: Selection, trainer: Selection, model: Model) -> None:
    """Look whether a model can learn by the objective of a run.

    Raises:
        FrameworkError: it cannot.
    """
    plain = loss.config.plain and not method.config.own_objective
    if not plain and Feature.objectives not in model.features:
        raise FrameworkError(
            f"method={method.component.name} with loss={loss.component.name}: trainer={trainer.component.name} "
            "learns by the mean loss of all learned tokens only: leave both out, or set trainer=hf"
        )


def check_distributed(launch: Selection, trainer: Selection, model: Model) -> None:
    """Look whether a model can be trained by a group of processes, if it is to be.

    Raises:
        FrameworkError: it cannot.
    """
    if launch.config.group() and Feature.groups not in model.features:
        raise FrameworkError(
            f"launch={launch.component.name}: trainer={trainer.component.name} trains in one process only: "
            "set launch=single, or trainer=hf"
        )
