"""The contents of the page: values of a run -> values of the template."""

from __future__ import annotations

import base64
import difflib
import functools
import hashlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from framework import Plan, Stage
from framework.api import (
    GIB,
    Aspect,
    Change,
    DataResult,
    Forecast,
    Measure,
    Report,
    Sample,
    Step,
    Table,
    TrainingIssue,
    count,
    display_run,
    hide,
    number,
    redact,
    visible,
)
from framework.api.program import facts_of
from framework_plugins.lib.model_settings import model_name
from framework_plugins.lib.sentences import health_facts, readiness, shared_start
from framework_plugins.report import charts

MAX_TEXT_CHARS = 4000
"""Characters of a text; the middle of a longer one is left out."""
DATA_STAGES = {Stage.plan, Stage.data}
MAX_EXAMPLES = 5
WORD = re.compile(r"(\w+|[^\w\s])(\s*)")
MIN_SIMILARITY = 0.4
"""Answers that are less similar than this have no differences that are worth a mark."""
DRAWN_STEPS = 8
"""Steps of which the answers that were learned from are shown."""
UNFOLDED_ANSWERS = 3
"""Answers that are not folded away."""


@dataclass
class Run:
    """The contents of the page. `report` and `samples` come at the end, `notes` name missing measures.

    `tables` are those of the trained model's evaluation.
    """

    plan: Plan
    data: DataResult
    facts: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    issues: list[TrainingIssue] = field(default_factory=list)
    report: Report | None = None
    samples: list[tuple[Sample | None, Sample]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    error: str = ""
    ended: str = "failed"
    expected: Forecast | None = None


def render(run: Run, samples: int) -> str:
    """Return the page, with at most `samples` samples."""
    plan, report, sizes = run.plan, run.report, run.data.lengths
    page: str = template("report.html.jinja").render(
        name=redact(plan.name),
        run_dir=redact(display_run(plan.run_dir)),
        status=_status(run),
        error=run.error,
        ready=readiness(run.data) if set(plan.stages) <= DATA_STAGES else "",
        report=report,
        results=list(_results(report)) if report else [],
        notes=[redact(note) for note in run.notes],
        tables=[(table, charts.diagonal(table.rows) if table.drawn else []) for table in run.tables],
        numbers=list(_training_rows(report)) if report else [],
        health=list(health_facts(report.train, plan.training)) if report and report.train else [],
        headline=report.headline if report else "",
        lines=report.verdict.toned_lines if report and report.verdict else [],
        panels=charts.curves(run.steps, run.issues, _validation_losses(report)),
        samples=worst_first(run.samples, report, samples),
        drawn=[*drawn_answers(run.steps)],
        first=UNFOLDED_ANSWERS,
        more_samples=max(0, len(run.samples) - samples),
        facts=list(facts_of(run.data)),
        needs=list(facts_of(run.expected)) if run.expected else [],
        histogram=charts.histogram(run.data),
        beyond=sizes.beyond,
        longest=sizes.longest,
        audits=list(plan.audit),
        findings=run.data.findings,
        examples=MAX_EXAMPLES,
        rows=[(row.where, [(visible(piece.text), piece.learned) for piece in row.pieces]) for row in run.data.view],
        setup={"model": redact(plan.model_line), **_chosen_options(plan), **run.facts},
        command=shlex.join(["python", "-m", "framework", *map(hide, plan.overrides)]),
        settings=json.dumps(plan.config, indent=1, ensure_ascii=False),
    )
    return page


def policy(style: str) -> Markup:
    """Return the content security policy of a page: no script, no loading, and one style, given by its hash."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(Markup(allowed))  # noqa: S704 - our own words


@functools.cache
def template(name: str) -> Any:
    """Return a template of this package, with its style."""
    # `StrictUndefined`: a name that is misspelled in the template is an error, not a gap in the page.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"visible": visible, "number": number, "cut": shorten, "redact": redact, "count": count}
    folder = files("framework_plugins.report")
    environment.globals["policy"] = policy
    environment.globals["style"] = Markup(folder.joinpath("style.css").read_text(encoding="utf-8").strip())  # noqa: S704 - our own file
    return environment.from_string(folder.joinpath(name).read_text(encoding="utf-8"))


def _status(run: Run) -> str:
    """Return the state of the run in a few words."""
    if run.error:
        return run.ended
    if run.report:
        return f"finished {run.report.finished.replace('T', ' ').replace('+00:00', ' UTC')}"
    if set(run.plan.stages) <= DATA_STAGES:
        return "data only"
    if Stage.report not in run.plan.stages:
        return f"stages {', '.join(stage.value for stage in run.plan.stages)}"
    return f"not finished: step {run.steps[-1].step} of {run.steps[-1].total_steps}" if run.steps else "not finished"


def _results(report: Report) -> Iterator[dict[str, Any]]:
    """Give a row for each number that was measured, the primary measure first; the others are folded away."""
    for name, change in sorted(report.metrics.items(), key=lambda item: not item[1].primary):
        yield {
            "name": name,
            "before": number(change.before, name, change.unit),
            "after": number(change.after, name, change.unit),
            "aim": _direction_text(change),
            "difference": change.difference(name),
            "asked": _compared_text(change),
            "controls": list(_control_texts(name, change)),
            "first": change.primary,
            "verdict": "flagged" if change.held_back else change.outcome.name if change.outcome else "",
            "words": change.outcome_text,
            "objective": name == report.objective.name,
        }


def _control_texts(name: str, change: Change) -> Iterator[str]:
    """Say what the best constant answer and another model score."""
    if change.constant is not None:
        yield f"always '{change.constant_answer}': {number(change.constant, name, change.unit)}"
    if change.rival is not None:
        yield f"{change.rival_name}: {number(change.rival, name, change.unit)}"


def _direction_text(change: Change) -> str:
    if change.aspect is Aspect.copying:  # neither is better: rows of one pattern are recited where the task is learned
        return "how much is recited"
    return "higher is better" if change.higher_is_better else "lower is better"


def _compared_text(change: Change) -> str:
    """Write how many items were compared, with notes about them."""
    parts = [f"{change.pairs:,} compared"] if change.pairs else []
    parts += [f"{change.clusters:,} groups of similar ones"] if change.clusters else []
    parts += [f"{change.missing:,} without a score"] if change.missing else []
    parts += [f"{change.not_finite:,} not finite"] if change.not_finite else []
    parts += [f"{change.leaked:,} leaked, left out"] if change.leaked else []
    parts += [f"chosen among {change.candidates} validations"] if change.candidates > 1 else []
    return ", ".join(parts)


def _training_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Return the rows about training and stages: duration, memory, exported files and their comparison."""
    if train := report.train:
        yield "training", f"{train.steps:,} steps, {count(train.epochs, 'epoch')} in {duration(train.seconds)}"
        yield "loss", f"{train.train_loss:.4f} on average, {train.last_loss:.4f} at the end"
        speed, learned = report.tokens_per_second or 0, report.supervised_tokens_per_second or 0
        yield "speed", f"{speed:,.0f} tokens a second, {learned:,.0f} of them learned"
        computed = f"; {train.computed_tokens:,} processed" if train.computed_tokens else ""
        yield "tokens", f"{train.tokens:,} seen, {train.supervised_tokens:,} of them learned{computed}"
        part = train.trainable_parameters / max(train.total_parameters, 1)
        yield "trainable parameters", f"{train.trainable_parameters:,} of {train.total_parameters:,} ({part:.2%})"
        yield "peak memory", f"{train.peak_memory_bytes / GIB:.2f} GiB"
        for ancestor in train.lineage:
            kept = ", kept as it is beside a new adapter" if ancestor.merged else ""
            base = model_name(ancestor.base)
            yield "starts from", f"{ancestor.place}, SHA-256 {ancestor.sha256[:12]}, trained on {base}{kept}"
        if train.lineage:
            yield "before", "the adapter that the training starts from"
        if train.oom_fallbacks:
            yield "ran out of memory", "; ".join(train.oom_fallbacks)
    yield "time", ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in report.seconds.items())
    for artifact in report.artifacts:
        yield artifact.kind, f"{artifact.path} ({_size(artifact.bytes)})"
        if artifact.parity:
            yield f"{artifact.kind}, compared with the trained model", artifact.parity
        if artifact.notes:
            yield f"{artifact.kind}, to know", "; ".join(artifact.notes)
    for name, error in report.failed_exports.items():
        yield f"{name}, failed", error


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{math.ceil(size / 2**10)} KiB"


def duration(seconds: float) -> str:
    """Write a time: `4.2 s`, `3 min 10 s`, `2 h 5 min`."""
    total = round(seconds)
    if total < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, remainder = divmod(total, 60)
    return f"{minutes} min {remainder} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def _validation_losses(report: Report | None) -> tuple[float | None, float | None]:
    """Return the validation loss before and after the training."""
    change = report.metrics.get(Measure.EVAL_LOSS) if report else None
    return (change.before, change.after) if change else (None, None)


def worst_first(pairs: Sequence[tuple[Sample | None, Sample]], report: Report | None, limit: int) -> dict[str, Any]:
    """Return the answers side by side, those that got worse first, with the common beginning of the prompts once."""
    primary = [(name, change) for name, change in report.metrics.items() if change.primary] if report else []
    pairs = sorted(pairs, key=lambda pair: _gain(pair[0], pair[1], *primary[0]) if primary else 0.0)[:limit]
    shared = shared_start([after.prompt for _, after in pairs])
    rows = [
        {
            "prompt": after.prompt[shared:].strip(),
            "reference": None if after.reference is None else _reference_pieces(after),
            "before": before and answer_pieces(before),
            "after": answer_pieces(after),
        }
        for before, after in pairs
    ]
    got_worse = bool(primary and pairs) and _gain(pairs[0][0], pairs[0][1], *primary[0]) < 0
    return {"shared": pairs[0][1].prompt[:shared].strip() if pairs else "", "pairs": rows, "sorted": got_worse}


def drawn_answers(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """Return some answers that the training learned from, evenly from its steps."""
    sampled = [step for step in steps if step.samples]
    for step in sampled[:: -(-len(sampled) // DRAWN_STEPS)] if sampled else ():
        for sample in step.samples:
            scores = ", ".join(f"{name} {value:.3g}" for name, value in sample.scores.items())
            yield {"step": step.step, "prompt": sample.prompt, "answer": sample.answer, "scores": scores}


def _gain(before: Sample | None, after: Sample, name: str, change: Change) -> float:
    """Return by how much an answer improved in the primary measure; 0 if it is unknown."""
    if before is None or name not in before.scores or name not in after.scores:
        return 0.0
    return (after.scores[name] - before.scores[name]) * (1 if change.higher_is_better else -1)


def answer_pieces(sample: Sample) -> dict[str, Any]:
    """Return an answer in pieces, whether it is the reference, and whether the model ended it by itself.

    A piece is a text and whether the reference has it not.
    """
    right = sample.reference is not None and sample.answer.strip() == sample.reference.strip()
    answer = shorten(sample.answer.strip())
    pieces = [(answer, False)] if right or sample.reference is None else _differences(answer, shorten(sample.reference))
    return {"pieces": pieces, "right": right, "stopped": sample.stopped}


def _reference_pieces(sample: Sample) -> list[tuple[str, bool]]:
    """Return the reference in pieces, each with whether the answer lacks it."""
    return _differences(shorten((sample.reference or "").strip()), shorten(sample.answer))


def _differences(text: str, reference: str) -> list[tuple[str, bool]]:
    """Cut a text where it differs from another, word by word, white space aside; not where most of it differs."""
    words, reference_words = (
        [(match[1], match[2]) for match in WORD.finditer(version)] for version in (text, reference)
    )
    matcher = difflib.SequenceMatcher(
        None, [word for word, _ in words], [word for word, _ in reference_words], autojunk=False
    )
    # The upper bound first: `ratio` takes quadratic time.
    if matcher.quick_ratio() < MIN_SIMILARITY or matcher.ratio() < MIN_SIMILARITY:
        return [(text, False)]
    matching = {at for start, _, length in matcher.get_matching_blocks() for at in range(start, start + length)}
    pieces = [(text[: len(text) - len(text.lstrip())], False)]
    for at, (word, space) in enumerate(words):
        pieces += [
            (word, at not in matching),
            (space, at not in matching and at + 1 not in matching and at + 1 < len(words)),
        ]
    return [
        ("".join(part for part, _ in run), differs)
        for differs, run in itertools.groupby(pieces, lambda piece: piece[1])
    ]


def _chosen_options(plan: Plan) -> dict[str, str]:
    """Name the chosen options."""
    single = {name: getattr(plan, name).component.name for name in ("quantization", "adapter", "data", "format")}
    if plan.method_line:
        single["method"] = plan.method_line
    return {**single, "trainer": plan.trainer.component.name, "seed": str(plan.seed)}


def shorten(text: str) -> str:
    """Shorten a text, and make its invisible characters visible."""
    half = MAX_TEXT_CHARS // 2
    return visible(text if len(text) <= MAX_TEXT_CHARS else f"{text[:half]} … {text[-half:]}", "\n")
