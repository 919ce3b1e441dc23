"""`logger=wandb`: Weights & Biases, offline by itself where there is no key or no network.

The config is redacted before W&B sees it; the command line, the terminal and the machine's environment are not recorded
at all, because they go out in clear.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from framework.errors import one_line
from framework.health.config import Action
from framework.plan import Plan
from framework.protocols import Logger
from framework.records import DataResult, EvalResult, Report, Sample, Step, Trouble, to_json
from framework.redact import redact
from framework_trackers.config import WandbConfig, WandbMode
from framework_trackers.wandb_key import has_key

FINISH_TIMEOUT = 60.0
"""Seconds to wait at the end for a server that has gone away."""


class Wandb(Logger):
    """One run of W&B."""

    def __init__(self, config: WandbConfig) -> None:
        self.config = config
        self.plan: Plan | None = None
        self.run: Any = None
        self.last_step = 0
        self.exit_code = 0

    def planned(self, plan: Plan) -> None:
        """Keep the plan."""
        self.plan = plan

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Open the run: online where asked for or possible, else offline."""
        settings = {"run_dir": run_dir, "data": redact(to_json(_counts(data))), "hardware": dict(facts)}
        mode = self.config.mode
        if mode is WandbMode.auto:
            mode = WandbMode.online if has_key() else WandbMode.offline
        if mode is WandbMode.online:
            try:
                self.run = self._init("online", **settings)
            except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
                wandb.teardown()
                _say(f"wandb cannot be reached ({one_line(error)}); this run is logged offline")
        if self.run is None:
            self.run = self._init("offline", **settings)

    def _init(self, mode: str, *, run_dir: Path, data: Any, hardware: Mapping[str, str]) -> Any:
        plan = self.plan
        config = {**(plan.config if plan else {}), "data_result": data, "hardware": hardware}
        about = {
            "project": self.config.project,
            "entity": self.config.entity,
            "group": self.config.group,
            "name": self.config.run_name or f"{plan.name if plan else 'run'}-{run_dir.name}",
            "tags": self.config.tags,
            "notes": self.config.notes,
        }
        return wandb.init(
            **redact(about),
            dir=run_dir,
            config=config,
            mode=mode,  # type: ignore[arg-type] # a literal of wandb's
            reinit="create_new",
            settings=wandb.Settings(
                init_timeout=self.config.init_timeout,
                finish_timeout=FINISH_TIMEOUT,
                console="off",
                silent=True,
                x_disable_meta=True,
            ),
        )

    def step(self, step: Step) -> None:
        """Log a step."""
        values = {f"train/{name}": value for name, value in to_json(step).items() if name != "step"}
        if step.eval_loss is None:
            del values["train/eval_loss"]
        del values["train/metrics"]
        values |= {f"train/{name}": value for name, value in step.metrics.items()}
        self.last_step = step.step
        self._log(values)

    def trouble(self, trouble: Trouble) -> None:
        """Send an alert: W&B shows it beside the run, and writes to those who asked for that."""
        if self.run is not None:
            level = "ERROR" if trouble.action is Action.stop else "WARN"
            self.run.alert(trouble.kind, redact(trouble.line), level=level)

    def _log(self, values: Mapping[str, Any]) -> None:
        if self.run is not None:
            self.run.log(dict(values), step=self.last_step)

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Log the means."""
        prefix = "before" if before else "after"
        self._log({f"{prefix}/{name}": value for name, value in result.figures.items()})

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Log the answers as a table and the report as the summary."""
        if self.run is None:
            return
        table = wandb.Table(columns=["prompt", "reference", "before", "after"])
        for before, after in samples:
            table.add_data(after.prompt, after.reference, before.answer if before else None, after.answer)
        self._log({"answers": table})
        self.run.summary.update(redact(to_json(dataclasses.replace(report, data=None))))  # the config has the data

    def failed(self, error: BaseException) -> None:  # noqa: ARG002 - the exit code tells
        """Mark the run as failed."""
        self.exit_code = 1

    def close(self) -> None:
        """Finish the run."""
        if self.run is None:
            return
        run, self.run = self.run, None
        offline = run.settings.mode == "offline"
        run.finish(exit_code=self.exit_code)
        if offline:
            _say(f"wandb: logged offline; upload it with: wandb sync {Path(run.settings.sync_dir)}")


def _counts(data: DataResult) -> DataResult:
    """Leave out what quotes the rows: a server needs no examples of what is wrong with them, secrets among it."""
    findings = [dataclasses.replace(finding, examples=[]) for finding in data.findings]
    problems = [dataclasses.replace(problem, problem="") for problem in data.proof.problems]
    proof = dataclasses.replace(data.proof, problems=problems)
    return dataclasses.replace(data, view=[], findings=findings, bad_examples=[], proof=proof)


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - once a run, and not part of the console's picture
