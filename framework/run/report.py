"""The report stage: one value that says what the run was and whether it was worth it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from framework.api.plan import TEXT_PERPLEXITY, Plan
from framework.api.records import (
    Aspect,
    Change,
    Concern,
    DataResult,
    EvalResult,
    ExportResult,
    Measure,
    Objective,
    Report,
    Results,
    Sample,
    TrainResult,
    Verdict,
)
from framework.evaluate.measure import beside, over_base
from framework.evaluate.verdict import compare, judge
from framework.hooks.manager import Plugins
from framework.rundir.environment import versions
from framework.util.redact import redact

LEAKED = "leaked"
"""The finding of an audit that the verdict needs to know: prompts that training answers."""


def make_report(
    plan: Plan,
    hardware: Mapping[str, str],
    seconds: Mapping[str, float],
    data: DataResult | None,
    before: EvalResult | None,
    trained: TrainResult | None,
    after: EvalResult | None,
    exported: ExportResult | None,
    plugins: Plugins,
) -> Report:
    """Put the results of the stages together; a stage that never ran is None, an export that is still to come too."""
    findings = {finding.name: finding for finding in data.findings} if data else {}
    leak = findings.get(LEAKED)
    candidates = _candidates(data, after, trained)
    decides = data.decides if data else ""
    compared = functools.partial(
        compare, config=plan.settings.verdict, candidates=candidates, decides=decides, rewards=plan.reward
    )
    leaked = leak.where if leak else ()
    changes = compared(before, after, leaked=leaked)
    verdict = score = None
    if after is not None:
        results = Results(before, after, trained, changes)
        concerns = [concern for _, concern in plugins.ask("framework_concerns", Concern, plan=plan, results=results)]
        answers = [(asked.answer, told.answer) for asked, told in pair(before, after) if asked is not None]
        over: Mapping[str, Change] = {}
        if before is not None and before.base:  # the training started from a trained adapter, and so does its verdict
            over = compared(*over_base(before, after), leaked=leaked)
        verdict = judge(
            changes,
            concerns,
            plan.settings.verdict,
            leak=leak.text if leak else "",
            template=_is_template(after.samples),
            chosen=_chosen(plan.objective_by(decides), data, after) if plan.sweep else "",
            equal_answers=(sum(earlier == later for earlier, later in answers), len(answers)),
            over_base=over,
        )
        score = verdict.score
        if before and after.selection:  # a sweep chooses by other prompts than those that the verdict judges by
            sides = (dataclasses.replace(side, measures=side.measures | side.selection) for side in (before, after))
            score = judge(compared(*sides), concerns, plan.settings.verdict).score
    rate = 1 / trained.seconds if trained and trained.seconds else None
    return Report(
        name=redact(plan.name),
        run_dir=redact(str(plan.run_dir)),  # its default holds the name
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        objective=_objective(plan.objective_by(decides), changes, after, trained, score),
        metrics=changes,
        train=trained,
        tokens_per_second=trained.tokens * rate if trained and rate else None,
        supervised_tokens_per_second=trained.supervised_tokens * rate if trained and rate else None,
        seconds=dict(seconds),
        peak_memory_bytes=trained.peak_memory_bytes if trained else None,
        hardware=dict(hardware),
        versions=versions(),
        artifacts=exported.artifacts if exported else [],
        data=data,
        verdict=verdict,
        failed_exports=exported.failed if exported else {},
    )


def _candidates(data: DataResult | None, after: EvalResult | None, trained: TrainResult | None) -> dict[str, int]:
    """Return by measure how many weights the training compared on the same items, where it chose some."""
    if trained is None or trained.candidates < 2 or after is None:  # noqa: PLR2004 - of one there is no choice
        return {}
    chosen = {trained.chosen_on}
    # Prompts that are the validation rows themselves chose the weights by their loss.
    if data is not None and not data.judged_apart:
        chosen |= {name for name, measure in after.measures.items() if measure.aspect is Aspect.task}
    if Measure.EVAL_LOSS in chosen:
        chosen.add(TEXT_PERPLEXITY)  # the same numbers
    return dict.fromkeys(chosen, trained.candidates)


def _chosen(objective: str, data: DataResult | None, after: EvalResult) -> str:
    """Say that a sweep chooses among trials by the prompts that judge this one, or that it is one of several."""
    by_loss = objective.endswith("loss") or objective.startswith(Measure.EVAL_LOSS)
    if (data is None or data.judged_apart) and (by_loss or after.selection):
        return "this is one trial of a sweep: the more trials, the likelier it is that one looks better by chance"
    return (
        "this is a trial of a sweep that chooses by the prompts of this verdict, so the best trial looks better than "
        "it is: measure it again on other prompts before you report its gain"
    )


def _is_template(samples: Sequence[Sample]) -> bool:
    """Whether a part of what the prompts say is the same in nearly all of them."""
    from framework.util.prompt_clusters import have_one_template  # noqa: PLC0415 - numpy, which --help need not load

    return have_one_template([sample.prompt for sample in samples])


def _objective(
    name: str,
    changes: Mapping[str, Change],
    after: EvalResult | None,
    trained: TrainResult | None,
    score: float | None,
) -> Objective:
    if name == Verdict.SCORE:
        return Objective(name, score, higher_is_better=True)
    if name == "train_loss":
        return Objective(name, trained.train_loss if trained else None, higher_is_better=False)
    change = changes.get(name)
    value = change.after if change else None
    if after and name in after.selection:
        value = after.selection[name].value
    return Objective(name, value, change.higher_is_better if change else False)


def comparable(before: EvalResult | None, after: EvalResult | None) -> EvalResult | None:
    """Return what of `before` may be beside `after`: nothing of evaluators that asked other prompts."""
    if before is None or after is None:
        return before
    before = beside(before, after)
    # A result of an earlier version does not say which evaluator asked what.
    by_evaluator = any(sample.evaluator for sample in before.samples)
    asked, asked_now = (
        {(sample.evaluator if by_evaluator else "", sample.prompt) for sample in result.samples}
        for result in (before, after)
    )
    other = {evaluator for evaluator, _ in asked ^ asked_now}
    if not other:
        return before
    of_rows = (Measure.EVAL_LOSS, TEXT_PERPLEXITY)
    measures, base = (
        {name: part for name, part in side.items() if part.evaluator not in other or name.startswith(of_rows)}
        for side in (before.measures, before.base)
    )
    samples, base_samples = (
        [sample for sample in side if sample.evaluator not in other] for side in (before.samples, before.base_samples)
    )
    return dataclasses.replace(
        before, measures=measures, samples=samples, selection={}, base=base, base_samples=base_samples
    )


def pair(before: EvalResult | None, after: EvalResult | None) -> Sequence[tuple[Sample | None, Sample]]:
    """Pair the samples of both evaluations by their prompts."""
    if after is None:
        return []
    earlier = {sample.prompt: sample for sample in before.samples} if before else {}
    return [(earlier.get(sample.prompt), sample) for sample in after.samples]
