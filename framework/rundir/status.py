"""Writes down how far a run got (`status.json`) and what it was made with (`environment.json`), in its run folder.

It is a plugin like any other, on the public hooks; the core registers it as `journal`.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

from framework.api import records
from framework.api.component import hookimpl
from framework.api.plan import Plan
from framework.api.records import DataResult
from framework.api.records.saving import without_secrets
from framework.api.run_folder import (
    ENVIRONMENT,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OVERRIDES,
    PASSED_OVER,
    PRUNED,
    RUNNING,
    STATUS,
    RunFolder,
    Status,
)
from framework.api.schema import Stage
from framework.api.selection import as_plain
from framework.util.errors import DoesNotFitError, FrameworkError, PrunedError, summarize_error
from framework.util.files import write_failure


@hookimpl
def framework_run_started(plan: Plan) -> None:
    """Begin both files."""
    earlier = _read(plan.run_dir) if plan.only_exports else None
    # A finished run that only adds exports stays finished while they are made.
    if earlier is None or earlier.state != FINISHED:
        begun = Status(RUNNING, started=earlier.started, seconds=earlier.seconds) if earlier else None
        records.save(begun or Status(RUNNING, started=_now()), plan.run_dir / STATUS)
    if plan.is_new_run or not (plan.run_dir / ENVIRONMENT).exists():
        from framework.rundir.environment import environment  # noqa: PLC0415 - --help need not pay for it

        data = RunFolder(plan.run_dir).load_result(Stage.data, DataResult)
        record = environment(plan.selections, plan.overrides, plan.seed, data.fingerprint if data else "")
        records.save(record, plan.run_dir / ENVIRONMENT)


@hookimpl
def framework_stage_finished(plan: Plan, stage: Stage, seconds: float) -> None:
    """Note the stage."""
    status = records.load(Status, plan.run_dir / STATUS)
    if status.state == FINISHED:
        return
    seconds_of_all = {**status.seconds, stage.value: seconds}
    records.save(dataclasses.replace(status, stage=stage.value, seconds=seconds_of_all), plan.run_dir / STATUS)


@hookimpl
def framework_run_finished(plan: Plan) -> None:
    """Note the end, and the packages that were loaded since the start."""
    status = records.load(Status, plan.run_dir / STATUS)
    if status.state != FINISHED:
        records.save(dataclasses.replace(status, state=FINISHED, finished=_now()), plan.run_dir / STATUS)
    if plan.is_new_run:
        from framework.rundir.environment import Environment, packages  # noqa: PLC0415 - as above

        environment = records.load(Environment, plan.run_dir / ENVIRONMENT)
        records.save(dataclasses.replace(environment, packages=packages()), plan.run_dir / ENVIRONMENT)


@hookimpl
def framework_run_failed(plan: Plan, error: BaseException) -> None:
    """Note the reason, and which stage failed: the first that has not ended."""
    if status := _read(plan.run_dir):
        remaining = (stage.value for stage in plan.stages if stage.value not in {Stage.plan.value, *status.seconds})
        _note(plan.run_dir, error, status, next(remaining, None))
    else:
        note_failure(plan.run_dir, error)


def note_failure(run_dir: Path, error: BaseException) -> None:
    """Write why a run ended into its folder, if the run in there is not complete.

    A mistake that is found before anything is written leaves the folder of an earlier, finished run as it was.
    """
    _note(run_dir, error, _read(run_dir) or Status(RUNNING, started=_now()), None)


def _note(run_dir: Path, error: BaseException, status: Status, failed: str | None) -> None:
    if status.state == RUNNING and (run_dir / OVERRIDES).exists():
        states = {DoesNotFitError: PASSED_OVER, PrunedError: PRUNED, KeyboardInterrupt: INTERRUPTED}
        state = next((state for kind, state in states.items() if isinstance(error, kind)), FAILED)
        stage = failed if state == FAILED and failed else status.stage
        ended = dataclasses.replace(status, state=state, stage=stage, finished=_now(), error=reason(error))
        _save_on_full_disk(without_secrets(ended), run_dir / STATUS)


def _read(run_dir: Path) -> Status | None:
    """Return the status in a folder; None if there is none, or a damaged one: it is written again."""
    try:
        return records.load(Status, run_dir / STATUS)
    except (OSError, ValueError):
        return None


def _save_on_full_disk(status: Status, file: Path) -> None:
    """Save how a run ended; if no new file fits, into the blocks that the old one has."""
    try:
        records.save(status, file)
    except OSError as error:
        if not write_failure(error) or not file.exists():
            raise
        content = json.dumps(as_plain(status), indent=1).encode()
        with file.open("r+b") as opened:
            opened.write(content)
            opened.truncate()


def reason(error: BaseException) -> str:
    """Say in one line why a run ended."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted"
    return "; ".join(str(error).split("\n")) if isinstance(error, FrameworkError) else summarize_error(error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
