"""`logger=wandb`: Weights & Biases, offline by itself if there is no key or no network.

All that W&B receives is redacted first. The command line, the terminal output and the machine's environment are not
recorded, because W&B would send them unredacted. A resumed run folder continues the same W&B run.
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from framework import Plan, Stage
from framework.api import (
    Action,
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
    TrainingIssue,
    TrainingStep,
    redact,
    summarize_error,
)
from framework_plugins.trackers.config import WandbConfig
from framework_plugins.trackers.kept import TrackerRun, load_tracker_run, save_tracker_run, settings_hash
from framework_plugins.trackers.tables import (
    LEARNED,
    Table,
    answers,
    answers_of_one,
    learned_answers,
    measures,
    page,
    results,
    run_name,
    settings,
    step_values,
    weights,
)
from framework_plugins.trackers.wandb_run import finish_run, open_run, print_once

NAME = "wandb"
MAX_GROUP_CHARS = 128
"""Characters that W&B takes as the name of a group."""


class Wandb(Logger):
    """One run of W&B.

    Attributes:
        kept: the run of W&B that the run folder belongs to.
        has: the last step that W&B has from before; -1 if there is none.
        logged: the last step that was logged since.
        server_lost: whether the connection to W&B's server is lost, so that it is not queried again.
    """

    def __init__(self, config: WandbConfig) -> None:
        self.config = config
        self.plan: Plan | None = None
        self.run: Any = None
        self.why_offline = ""
        self.kept: TrackerRun | None = None
        self.has = -1
        self.logged = -1
        self.last_step = 0
        self.exit_code = 0
        self.learned: dict[int, list[Sample]] = {}
        self.server_lost = False

    def log(self, event: Event) -> None:
        """Log the event; the run of W&B is opened when the run starts."""
        match event:
            case RunStarted(plan, data, hardware):
                self._open(plan, data, hardware)
            case TrainingStep(step):
                self.last_step, self.learned[step.step] = step.step, step.samples
                self._log(step_values(step))
            case IssueFound(issue):
                self._alert(issue)
            case StageFinished(stage, EvalResult() as result):
                self._log_evaluation("before" if stage is Stage.baseline else "after", result)
            case RunFinished(Report() as report, samples):
                self._log_report(report, samples)
            case RunFailed(error):
                self.exit_code = 0 if isinstance(error, PrunedError) else 1  # its sweep gave it up: it has not failed

    def _open(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Open the run: online if asked for or possible, else offline."""
        self.plan = plan
        address = str(redact(f"{self.config.entity or ''}/{self.config.project}"))
        earlier = load_tracker_run(plan, NAME, address)
        self.kept = earlier or TrackerRun(uuid.uuid4().hex[:8], address, settings_hash(plan))
        about = self._run_properties(plan) | {"id": self.kept.id, "resume": "allow" if earlier else None}
        values = settings(plan, data, hardware)
        self.run, self.why_offline = open_run(self.config, about, plan.run_dir, values)
        if self.run is None:
            return
        self.has = max(self.kept.step, self.run.step - 1)
        if earlier and not plan.is_new_run:
            self.last_step = self.has + 1
        self._save_state(over=False)

    def _run_properties(self, plan: Plan) -> dict[str, Any]:
        """Return the run's properties for W&B besides its config; W&B reads those that are None from its variables."""
        config = self.config
        about: dict[str, Any] = redact(
            {
                "project": config.project,
                "entity": config.entity,
                "group": config.group or (plan.sweep[-MAX_GROUP_CHARS:] or None),
                "name": run_name(config.run_name, plan),
                "tags": config.tags or None,
                "notes": config.notes,
            }
        )
        return about

    def _save_state(self, *, over: bool) -> None:
        """Save the id and the last step of the run."""
        if self.plan is not None and self.kept is not None:
            self.kept.step, self.kept.over = max(self.kept.step, self.logged), over
            save_tracker_run(self.plan, NAME, self.kept)

    def _alert(self, issue: TrainingIssue) -> None:
        """Send an alert: W&B shows it beside the run, and writes to those who asked for that."""
        if self.run is not None:
            level = "ERROR" if issue.action is Action.stop else "WARN"
            self.run.alert(issue.kind, redact(issue.line), level=level)

    def _log(self, values: Mapping[str, Any]) -> None:
        """Log values at this step, unless W&B has it from before: it takes no second entry of a step that is past."""
        if self.run is not None and self.last_step > self.has:
            self.run.log(dict(values), step=self.last_step)
            if self.last_step > self.logged:
                self.logged = self.last_step
                self._save_state(over=False)

    def _advance_step(self) -> None:
        """Advance beyond all steps that W&B already has."""
        self.last_step = max(self.last_step, self.has + 1)

    def _log_evaluation(self, prefix: str, result: EvalResult) -> None:
        """Log the means, with the standard errors of lm-eval, and the answers if no report follows."""
        if prefix == "after":
            self._advance_step()
        self._log({f"{prefix}/{name}": value for name, value in result.figures.items()})
        if self.plan is not None and Stage.report not in self.plan.stages:
            self._log_table(f"{prefix}/answers", answers_of_one(result.samples, self.config.answers))

    def _log_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Log the answers side by side, the measures with their verdict, and the report as the summary."""
        self._advance_step()
        self._log_table("answers", answers(samples, self.config.answers))
        self._log_table("measures", measures(report))
        if self.run is not None:
            self.run.summary.update(results(report))

    def _log_table(self, name: str, table: Table) -> None:
        """Log a table: the one thing for which W&B waits for its server, some 20 s if that is gone, and raises."""
        if self.server_lost or not table.rows:
            return
        try:
            self._log({name: wandb.Table(columns=table.columns, data=table.rows, allow_mixed_types=True)})
        except Exception as error:  # noqa: BLE001 - curves and summary are still written, for `wandb sync`
            self.server_lost = True
            print_once(f"wandb: the server is gone, so tables and artifacts are left out ({summarize_error(error)})")

    def close(self) -> None:
        """Log the files of other loggers and exporters, finish the run, and print the command to upload the rest."""
        if self.run is None or self.plan is None:
            return
        try:
            self._log_artifacts(self.plan)
        except Exception as error:  # noqa: BLE001 - the run is to be finished in any case
            print_once(f"wandb: the results at the end could not be logged ({summarize_error(error)})")
        self._save_state(over=not self.exit_code)
        run, self.run = self.run, None
        folder = Path(run.settings.sync_dir)
        if why := finish_run(run, self.exit_code):
            print_once(f"wandb did not accept everything ({why}); upload the rest with: {_sync_command([folder])}")
        elif run.settings.mode == "offline":
            parts = sorted(self.plan.run_dir.glob(f"wandb/offline-run-*-{run.id}*"))
            print_once(f"wandb: logged offline ({self.why_offline}); upload it with: {_sync_command(parts)}")
        _redact_logs(folder)

    def _log_artifacts(self, plan: Plan) -> None:
        """Log the learned answers, the report page and, with `log_adapter`, the weights."""
        self._advance_step()
        self._log_table(LEARNED, learned_answers(self.learned, self.config.answers))
        if text := page(plan):
            self._log({"report": wandb.Html(text, inject=False)})
        if self.config.log_adapter and not self.exit_code and not self.server_lost:
            self._log_adapter(plan)

    def _log_adapter(self, plan: Plan) -> None:
        """Upload the trained weights from where they lie; W&B notes the path, which must not name a secret."""
        folder = weights(plan)
        if folder is None:
            return
        if redact(str(folder)) != str(folder):
            print_once("wandb: the weights are not uploaded: the name of their folder holds a secret")
            return
        name = re.sub(r"[^\w.-]", "_", str(redact(plan.name)))
        artifact = wandb.Artifact(
            f"{name}-{folder.name}", type="model", metadata={"run_dir": redact(str(plan.run_dir))}
        )
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):  # add_dir prints what it does
            artifact.add_file(str(file), name=str(file.relative_to(folder)), skip_cache=True, policy="immutable")
        self.run.log_artifact(artifact)


def _sync_command(folders: Sequence[Path]) -> str:
    """Return the command that uploads the parts of a run that are on this machine only."""
    unsynced = [folder for folder in folders if not any(folder.glob("*.synced"))]
    return shlex.join(["wandb", "sync", *map(str, unsynced)])


def _redact_logs(folder: Path) -> None:
    """Take secrets out of W&B's own log files: they name the run folder, which a user may name after one."""
    for file in folder.glob("logs/*.log"):
        text = file.read_text(encoding="utf-8", errors="replace")
        file.write_text("\n".join(redact(text.split("\n"))), encoding="utf-8")
