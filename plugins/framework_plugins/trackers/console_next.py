"""What a person does after a run: the commands with the values of this run, each said once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from framework import Plan, Stage
from framework.api import Artifact, Forecast, display_path, display_run, override_key
from framework.api.program import fill_in, this_program

DATA_STAGES = {Stage.plan, Stage.data}
"""A run of only these stages is made to look at the data."""

RATES = "other rates"
DATA_KEYS = {"experiment", "name", "data", "format", "metric", "evaluator", "objective", "verdict"}
"""Keys of overrides that go with the data of a run."""
JUDGING_KEYS = {"metric", "objective", "verdict"}
SOURCE_KEYS = {"data", *(f"data.{name}" for name in (
    "path", "encoding", "sample_by", "name", "split", "validation_split_name", "revision", "streaming", "max_rows",
))}  # fmt: skip
"""Keys of the source whose rows an audit has written into a file."""


def next_steps(
    plan: Plan, artifacts: Sequence[Artifact], forecast: Forecast | None = None
) -> Iterator[tuple[str, str]]:
    """Give the next steps, each with its command.

    Args:
        plan: the run that has ended.
        artifacts: its exported files, of now or earlier.
        forecast: its expected needs, if they are known.
    """
    # The command may be in logs, so secrets are placeholders.
    words = [fill_in(word) for word in plan.overrides if override_key(word) != "run_dir"]
    if set(plan.stages) <= DATA_STAGES:
        dropped = {"stages", "plan.gpu"}
        next_words = _clean(plan, [fill_in(word) for word in plan.overrides if override_key(word) not in dropped])
        changes = forecast.changes if forecast else []
        fits = bool(changes) and changes[-1].fits
        if fits and not plan.settings.plan.gpu and not plan.settings.plan.apply:
            next_words.append("plan.apply=true")
        yield "the whole run", this_program(*next_words)
        return
    folder = shlex.quote(display_run(plan.run_dir))
    if plan.checkpoint.is_dir() and plan.training.answers():
        yield "talk to it", f"{this_program()} chat {folder}"
    elif plan.checkpoint.is_dir():
        rewarded = f"reward=[reward_model] reward.reward_model.path={folder}"
        yield "learn from its scores", this_program("method=grpo", *rewarded.split(" ", 1))
    for artifact in artifacts:
        if artifact.use:
            path = shlex.quote(display_path(plan.run_dir / artifact.path))
            yield f"with {artifact.kind}", artifact.use.format(path=path)
    if Stage.train in plan.stages and Stage.evaluate not in plan.stages:
        yield "measure it", f"{this_program()} run_dir={folder} stages=[baseline,evaluate,report]"
    elif _has_record(plan, Stage.evaluate) and not _has_record(plan, Stage.report):
        yield "its report, with this", f"{this_program()} run_dir={folder} stages=[report]"
    if Stage.train in plan.stages and Stage.report in plan.stages:
        if not hasattr(plan.data.config, "path"):  # data that came with a plugin
            yield "your own data", shlex.join([*shlex.split(this_program()), *_for_own_data(plan, words)])
        rate = plan.training.learning_rate
        overrides = [word for word in words if override_key(word) != "trainer.learning_rate"]
        rates = f"trainer.learning_rate={rate / 2:g},{rate:g},{rate * 2:g}"
        yield RATES, shlex.join([*shlex.split(this_program()), "-m", *overrides, rates])


def _for_own_data(plan: Plan, words: Sequence[str]) -> list[str]:
    """Return the overrides of the same training with other rows, without what goes with the rows of this one."""
    typed = {override_key(word) for word in words}
    # An experiment measures what fits its data; a metric in a file of the user does so for theirs.
    dropped = DATA_KEYS - (JUDGING_KEYS if {"plugins", "metric"} <= typed else set())
    kept = [word for word in words if override_key(word).partition(".")[0] not in dropped]
    kept = [word for word in kept if override_key(word) != "trainer.max_steps"]  # of a short try, or of these rows
    chosen = {"model": plan.model.component.name}
    if plan.method.component.name != "sft":
        chosen |= {"method": plan.method.component.name}
    if plan.reward:
        chosen |= {"reward": f"[{','.join(plan.reward)}]"}
    if start := plan.config["adapter"].get("start"):
        chosen |= {"adapter.start": str(start)}
    added = [fill_in(f"{key}={value}") for key, value in chosen.items() if key not in typed]
    return [*added, *kept, "data=local_file", "data.path=FILE.jsonl"]


def _clean(plan: Plan, words: list[str]) -> list[str]:
    """Return the overrides with the cleaned rows of an audit in place of the source."""
    files = {f"audit.{name}.clean": file for name, choice in plan.audit.items() if (file := choice.config.cleaned())}
    if Stage.data not in plan.stages or not files:
        return words
    typed = [word.partition("=")[2] for word in words if override_key(word) in files]
    path = next(iter([*typed, *files.values()]))
    remaining = [word for word in words if override_key(word) not in {*SOURCE_KEYS, *files}]
    return [*remaining, "data=local_file", f"data.path={path}"]


def _has_record(plan: Plan, stage: Stage) -> bool:
    return (plan.run_dir / f"{stage.value}.json").exists()
