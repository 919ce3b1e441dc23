"""`logger=mlflow`: a run of MLflow, in a folder on this machine, in a database or on a tracking server.

Nothing of the process is recorded but what is written here, all of it redacted. MLflow's own telemetry is off unless
MLFLOW_DISABLE_TELEMETRY says otherwise. A resumed run folder continues the same MLflow run.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from framework import Plan, Stage
from framework.api import (
    DataResult,
    EvalResult,
    Event,
    IssueFound,
    Logger,
    PrunedError,
    Report,
    RunFailed,
    RunFinished,
    RunStarted,
    Sample,
    StageFinished,
    Step,
    TrainingStep,
    as_text,
    redact,
    summarize_error,
)
from framework_plugins.trackers.config import MlflowConfig
from framework_plugins.trackers.kept import TrackerRun, load_tracker_run, save_tracker_run, settings_hash, trained_steps
from framework_plugins.trackers.tables import (
    LEARNED,
    Table,
    answers,
    flattened,
    learned_answers,
    measures,
    page,
    results,
    run_name,
    settings,
    step_values,
    weights,
)

NAME = "mlflow"
ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_FOLDER = "mlruns"
MAX_PARAMS, MAX_PARAM_CHARS = 100, 500
"""How many settings MLflow takes at once, and how many characters of one every version of its servers takes."""
TABLES_TAG = "mlflow.loggedArtifacts"
"""The tag by which MLflow's page knows which files are tables."""


class Mlflow(Logger):
    """One run of MLflow.

    Attributes:
        has: the last step of the training that MLflow has from before; -1 if there is none.
        trained: the last one that was logged since.
    """

    def __init__(self, config: MlflowConfig) -> None:
        self.config = config
        self.plan: Plan | None = None
        self.client: MlflowClient | None = None
        self.run_id = ""
        self.has = -1
        self.trained = -1
        self.last_step = 0
        self.learned: dict[int, list[Sample]] = {}
        self.tables: list[dict[str, str]] = []
        self.status = "FINISHED"

    def log(self, event: Event) -> None:
        """Log the event; the run of MLflow is opened when the run starts."""
        match event:
            case RunStarted(plan, data, hardware):
                self._open(plan, data, hardware)
            case TrainingStep(step):
                self._log_step(step)
            case IssueFound(issue):
                self._send(tags=[RunTag(f"issue.{issue.kind}", redact(issue.line))])
            case StageFinished(stage, EvalResult() as result):
                prefix = "before" if stage is Stage.baseline else "after"
                self._log_metrics({f"{prefix}/{name}": value for name, value in result.figures.items()})
            case RunFinished(Report() as report, samples):
                self._log_report(report, samples)
            case RunFailed(error):
                self.status = "KILLED" if isinstance(error, KeyboardInterrupt | PrunedError) else "FAILED"
                self._send(tags=[RunTag("error", summarize_error(error))])

    def _open(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Open the run, and write the config."""
        self.plan = plan
        address = tracking_address(self.config)
        self._set_limits(address)
        client = MlflowClient(address)
        earlier = load_tracker_run(plan, NAME, str(redact(address)))
        if earlier and _reopen(client, earlier.id):
            self.client, self.run_id, self.has = client, earlier.id, earlier.step
            self.last_step = trained_steps(plan)
        else:
            self.run_id = self._create_run(client, plan)
            self.client = client
            self._log_params(settings(plan, data, hardware))
        self._save_state(over=False)

    def _set_limits(self, address: str) -> None:
        """Limit how long a server can delay the run; allow a folder as the store, which MLflow refuses by default."""
        if address.startswith("http"):
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(self.config.timeout)
            # MLflow retries seven times by default, with pauses that double: minutes for each log entry.
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
        elif address.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

    def _create_run(self, client: MlflowClient, plan: Plan) -> str:
        """Begin a run and return its id."""
        name = str(redact(self.config.experiment))
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        sweep = {"sweep": plan.sweep} if plan.sweep else {}
        tags = redact({**self.config.tags, **sweep, "run_dir": str(plan.run_dir)})
        created: str = client.create_run(
            experiment_id, run_name=run_name(self.config.run_name, plan), tags=tags
        ).info.run_id
        return created

    def _log_params(self, values: Mapping[str, Any]) -> None:
        """Write the config, as single settings to compare runs by and as a whole."""
        entries = [(name, value) for name, value in flattened(values) if not name.startswith("data_result.")]
        params = [Param(_clean(name), as_text(value)[:MAX_PARAM_CHARS]) for name, value in entries]
        for start in range(0, len(params), MAX_PARAMS):
            self._send(params=params[start : start + MAX_PARAMS])
        self._log_file(json.dumps(values, indent=1, ensure_ascii=False), "config.json")

    def _send(self, **values: Sequence[Any]) -> None:
        if self.client is not None:
            self.client.log_batch(self.run_id, **values)

    def _log_file(self, text: str, name: str) -> None:
        if self.client is not None:
            self.client.log_text(self.run_id, text, name)

    def _save_state(self, *, over: bool) -> None:
        """Save the id and the last step of the run."""
        if self.plan is not None:
            address = str(redact(tracking_address(self.config)))
            step = max(self.has, self.trained)
            save_tracker_run(self.plan, NAME, TrackerRun(self.run_id, address, settings_hash(self.plan), step, over))

    def _log_metrics(self, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._send(metrics=[Metric(_clean(name), value, now, self.last_step) for name, value in values.items()])

    def _log_step(self, step: Step) -> None:
        """Log a step, unless a resumed training sends it again: MLflow would store it twice."""
        self.last_step, self.learned[step.step] = step.step, step.samples
        if step.step > self.has:
            self._log_metrics(step_values(step))
            self.trained = step.step
            self._save_state(over=False)

    def _log_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Log answers, measures, verdict and the report."""
        self._log_table("answers", answers(samples, self.config.answers))
        self._log_table("measures", measures(report))
        values = results(report)
        self._log_file(json.dumps(values, indent=1, ensure_ascii=False), "report.json")
        if report.verdict:
            self._send(tags=[RunTag("verdict", "\n".join(values["verdict"]["lines"]))])
        if report.objective.value is not None:
            self._log_metrics({"objective": report.objective.value})

    def _log_table(self, name: str, table: Table) -> None:
        if table.rows:
            text = json.dumps({"columns": table.columns, "data": table.rows}, ensure_ascii=False)
            self._log_file(text, f"{name}.json")
            self.tables.append({"path": f"{name}.json", "type": "table"})
            self._send(tags=[RunTag(TABLES_TAG, json.dumps(self.tables))])

    def close(self) -> None:
        """Log the files of other loggers and the exporters, and end the run."""
        if self.client is None or self.plan is None:
            return
        client = self.client
        self._log_table(LEARNED, learned_answers(self.learned, self.config.answers))
        if text := page(self.plan):
            self._log_file(text, "report.html")
        folder = weights(self.plan)
        if self.config.log_adapter and folder is not None and self.status == "FINISHED":
            client.log_artifacts(self.run_id, str(folder), folder.name)
        self._save_state(over=self.status == "FINISHED")
        self.client = None
        client.set_terminated(self.run_id, self.status)
        print(f"mlflow: logged to {redact(tracking_address(self.config))}, run {self.run_id}", file=sys.stderr)  # noqa: T201 - once a run


def tracking_address(config: MlflowConfig) -> str:
    """Return where MLflow writes, a folder as `file:///…`."""
    address = config.tracking_uri or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_FOLDER
    return address if re.match(r"[a-zA-Z][\w+-]*:|databricks$", address) else Path(address).absolute().as_uri()


def _reopen(client: MlflowClient, run_id: str) -> bool:
    """Open a run again; one that was deleted in the meantime cannot be."""
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException:
        return False
    return True


def _clean(name: str) -> str:
    """Return a name with only the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]
