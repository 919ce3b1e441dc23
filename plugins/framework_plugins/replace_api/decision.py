"""The decision of a run: its evaluation beside the logs, as `replace_api.json` and a page, and in a few lines."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from statistics import fmean, quantiles

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from framework import FrameworkError, Plan, Stage
from framework.api import (
    Answered,
    DataResult,
    EvalResult,
    Measure,
    Message,
    Report,
    RunFolder,
    Sample,
    TrainResult,
    count,
    scoring,
    visible,
    write_atomically,
)
from framework.api.program import load_record, save_record
from framework_plugins.lib.language import languages
from framework_plugins.replace_api.bill import Bill, Usage, make_bill, usage_of
from framework_plugins.replace_api.config import (
    ALONE,
    MODEL_INPUT,
    MODEL_OUTPUT,
    PROBABILITY,
    SECONDS,
    VERSUS,
    ReplaceApiConfig,
)
from framework_plugins.replace_api.source import ApiLogs, Request
from framework_plugins.replace_api.turns import Turn
from framework_plugins.replace_api.verdict import Compared, Name, Terms, Verdict, judge, points

FILE, PAGE, TEMPLATE = "replace_api.json", "replace_api.html", "decision.html.jinja"
SHOWN = 10
"""The worst answers that the page shows."""
LENGTHS = ("shortest third", "middle third", "longest third")
TOPIC_CHARACTERS = 60
LEAST = 2
"""Requests that a comparison takes."""


@dataclass(frozen=True)
class Decision:
    """What `replace_api.json` holds: everything that the decision was made from, so that it can be made again."""

    run: str
    metric: str
    terms: Terms
    verdict: Verdict
    bill: Bill
    usage: Usage
    requests: list[Compared]
    notes: list[str] = field(default_factory=list)

    def under(self, terms: Terms) -> Decision:
        """Return the decision under other terms."""
        verdict = judge(self.requests, terms)
        return replace(self, terms=terms, verdict=verdict, bill=_bill(self.usage, verdict, terms))

    def write(self, folder: Path) -> None:
        """Write the record and the page."""
        save_record(self, folder / FILE)
        write_atomically(folder / PAGE, render(self))


def read_decision(folder: Path) -> Decision:
    """Read the decision of a run.

    Raises:
        FrameworkError: the run has none.
    """
    try:
        return load_record(Decision, folder / FILE)
    except FileNotFoundError as error:
        raise FrameworkError(
            f"{folder} holds no {FILE}: a run with evaluator=[replace_api] data=api_logs and the stages evaluate and "
            "report writes it"
        ) from error


def decide(plan: Plan, report: Report) -> Decision | None:
    """Return the decision of a run that is complete; None if it did not ask for one, or did not measure it."""
    settings = next((c.config for c in plan.evaluator.values() if isinstance(c.config, ReplaceApiConfig)), None)
    run = RunFolder(plan.run_dir)
    measured = run.load_result(Stage.evaluate, EvalResult)
    if settings is None or measured is None or PROBABILITY not in measured.measures:
        return None
    name = _deciding(plan, measured, report)
    source: ApiLogs = plan.data.create()
    logs = source.read()
    places = measured.measures[PROBABILITY].where
    asked = {request.where: request for request in logs.held_out}
    data = run.load_result(Stage.data, DataResult)
    leaked = {place for finding in (data.findings if data else ()) for place in finding.where}
    indices = [index for index, place in enumerate(places) if place in asked and place not in leaked]
    samples = [sample for sample in measured.samples if sample.evaluator == measured.measures[PROBABILITY].evaluator]
    compared = _compared(plan, name, measured.measures, samples, asked, indices)
    if len([request for request in compared if request.score is not None]) < LEAST:
        return None
    train = run.load_result(Stage.train, TrainResult)
    values = measured.metrics
    usage = usage_of(
        [call for request in (*logs.train, *logs.held_out) for call in request.calls],
        seconds=values[SECONDS], alone=values[ALONE], model_tokens=values[MODEL_INPUT] + values[MODEL_OUTPUT],
        training=train.seconds if train else 0.0,
        machine=report.hardware.get("device", "this machine"),
    )  # fmt: skip
    terms = Terms(
        margin=plan.settings.verdict.margin, confidence=plan.settings.verdict.confidence,
        max_error=settings.max_error, input_price=settings.input_price, cached_price=settings.cached_price,
        output_price=settings.output_price, price_per_hour=plan.settings.plan.price_per_hour,
    )  # fmt: skip
    notes = [*logs.notes, *measured.notes]
    if leaked & set(places):
        notes.append(f"{count(len(leaked & set(places)), 'held-out request')} left out: training rows answer them")
    again = [request.logged_score for request in compared if len(asked[request.where].answers) > 1]
    if again:
        notes.append(
            f"the API agrees with itself in {fmean(again):.1%} of {count(len(again), 'request')} that were asked "
            "several times; an answer that is the only one counts as right"
        )
    verdict = judge(compared, terms)
    bill = _bill(usage, verdict, terms)
    return Decision(str(plan.run_dir), name, terms, verdict, bill, usage, compared, notes)


def _bill(usage: Usage, verdict: Verdict, terms: Terms) -> Bill:
    return make_bill(usage, verdict.router, terms, alone=verdict.name is Name.not_worse)


def _deciding(plan: Plan, measured: EvalResult, report: Report) -> str:
    """Return the measure that decides: `verdict.primary`, a judge that compared, or what decides the run's verdict."""
    versus = next((name for name in measured.measures if name.endswith(VERSUS)), "")
    chosen = plan.settings.verdict.primary or versus or (report.data.decides if report.data else "")
    if chosen not in measured.measures or not measured.measures[chosen].items:
        names = ", ".join(name for name in plan.metric if name in measured.measures)
        raise FrameworkError(
            f"no metric compares the answers with the logged ones: set verdict.primary to one of {names}"
        )
    return chosen


def _compared(
    plan: Plan,
    name: str,
    measures: Mapping[str, Measure],
    samples: Sequence[Sample],
    asked: Mapping[str, Request],
    indices: Sequence[int],
) -> list[Compared]:
    measure, probability = measures[name], measures[PROBABILITY]
    clusters = measure.clusters or [*range(len(measure.items))]
    lengths = [len(samples[index].prompt) for index in indices]
    edges = quantiles(lengths, n=3) if len(lengths) >= LEAST else []
    sizes = {cluster: clusters.count(cluster) for cluster in set(clusters)}
    topics = {cluster: samples[index].prompt[-TOPIC_CHARACTERS:] for index, cluster in reversed([*enumerate(clusters)])}
    metric = plan.metric[name].create() if name in plan.metric else None
    rows = []
    for index, length in zip(indices, lengths, strict=True):
        sample, request = samples[index], asked[probability.where[index]]
        others = [_text(answer) for answer in request.answers[1:]]
        logged_score = 0.5 if measure.compared else 1.0
        if metric is not None and others:
            texts = [Answered(sample.prompt, text, sample.reference, 0, stopped=True) for text in others]
            scores = [score for score in scoring.score(name, metric, texts).items if score is not None]
            logged_score = fmean(scores) if scores else logged_score
        calls = request.call.answers[0].get("tool_calls", ())
        slices = {
            "tool": ", ".join(sorted({call["function"]["name"] for call in calls})) or "no call",
            "length": LENGTHS[sum(length > edge for edge in edges)],
            "language": languages(sample.prompt) or "unknown",
        }
        if sizes[clusters[index]] > 1:
            slices["topic"] = f"requests like …{topics[clusters[index]]}"
        rows.append(Compared(
            request.where, sample.prompt, sample.reference or "", sample.answer, measure.items[index], logged_score,
            probability.items[index] or 0.0, clusters[index], slices,
        ))  # fmt: skip
    return rows


def _text(answer: Turn) -> str:
    """Return an answer as the reference of a prompt has it: its text, or its calls as JSON."""
    calls = (
        json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]}, ensure_ascii=False)
        for call in answer.get("tool_calls", ())
    )
    text: str = answer["content"]
    return text or "\n".join(f"{Message.BEGIN_CALL}\n{call}\n{Message.BEGIN_CALL.replace('<', '</')}" for call in calls)


# --- what people read ------------------------------------------------------------------------------------------------


def headline(decision: Decision) -> str:
    """Return the answer to the question, in a sentence."""
    verdict, terms = decision.verdict, decision.terms
    margin, sure = points(terms.margin), f"{terms.confidence:.0%} confidence"
    share = verdict.router.answered
    routed = f"; {share:.0%} of the requests may go to the model" if verdict.router.threshold is not None else ""
    if verdict.name is Name.not_worse:
        return f"Yes: the model is not worse than the API by more than {margin} ({sure})."
    if verdict.name is Name.worse:
        return f"No: the model is worse than the API by more than {margin} ({sure}){routed}."
    return f"Not yet: a loss of more than {margin} is neither shown nor ruled out ({sure}){routed}."


def lines(decision: Decision) -> Iterator[str]:
    """Give what follows the headline, a sentence each."""
    verdict, worst, router, terms = decision.verdict, decision.verdict.worst, decision.verdict.router, decision.terms
    groups = f" in {verdict.clusters} independent groups" if verdict.clusters < verdict.requests else ""
    yield (
        f"{decision.metric}: API {verdict.logged:.1%}, model {verdict.model:.1%}; the model is worse by "
        f"{100 * verdict.low:.1f} to {100 * verdict.high:.1f} points, over "
        f"{count(verdict.requests, 'held-out request')}{groups}"
    )
    if verdict.more:
        yield f"about {verdict.more:,} held-out requests would decide, if the difference stays as it is"
    if worst:
        beyond = "more than chance explains" if worst.certain else "which may be chance"
        yield (
            f"worst slice: {worst.kind} {worst.value!r}, {points(worst.shortfall)} worse over {worst.requests} "
            f"requests, {beyond}"
        )
    if router.threshold is None:
        yield f"router: at most {router.at_most:.0%} worse answers cannot be promised: {router.reason}"
    else:
        yield (
            f"router: answers with a probability of at least {router.threshold:.3g} stay with the model, "
            f"{router.answered:.0%} of the requests; at most {terms.max_error:.0%} of these are worse "
            f"({terms.confidence:.0%} confidence), here {router.wrong:.1%}"
        )
    yield from (f"{name}: {text}" for name, text in _costs(decision.bill))


def money(value: float | None) -> str:
    """Write an amount in the currency of the prices."""
    return "not known" if value is None else f"{value:.3g}"


def _costs(bill: Bill) -> Iterator[tuple[str, str]]:
    yield "a thousand requests", f"API {money(bill.api)}, model {money(bill.model)}, router {money(bill.routed)}"
    if bill.break_even is not None:
        yield "break-even", f"the training has paid for itself after {bill.break_even:,} requests"
    if bill.always_on is not None:
        reach = "" if bill.always_on <= bill.capacity else f", more than the {bill.capacity:,} that it can answer"
        yield "a machine that is always on", f"costs less from {bill.always_on:,} requests a month on{reach}"


def table(decision: Decision) -> list[tuple[str, str, str, str]]:
    """Return the table of the page: a name, and what the API, the model and the router have."""
    verdict, bill, usage, router = decision.verdict, decision.bill, decision.usage, decision.verdict.router
    kept = fmean(request.shortfall <= 0 for request in decision.requests)
    routed = 1 - router.answered + router.answered * (1 - router.wrong)
    seconds = f"{usage.median:.2g} s, one in 20 over {usage.slowest:.2g} s" if usage.timed else "not in the logs"
    return [
        (decision.metric, f"{verdict.logged:.1%}", f"{verdict.model:.1%}", ""),
        ("answers that are not worse", "100%", f"{kept:.1%}", f"{routed:.1%}"),
        ("requests that it answers", "100%", "100%", f"{router.answered:.0%} by the model"),
        ("cost of a thousand requests", money(bill.api), money(bill.model), money(bill.routed)),
        ("seconds of a request", seconds, f"{usage.alone:.2g} s", "the model's, and the API's where it passes on"),
    ]  # fmt: skip


def render(decision: Decision) -> str:
    """Return the page: one headline, one table, the worst answers side by side, and what it supposes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["visible"] = lambda text: visible(text, "\n")
    source = files("framework_plugins.replace_api").joinpath(TEMPLATE).read_text(encoding="utf-8")
    css = source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    worst = sorted(decision.requests, key=lambda request: (-request.shortfall, -request.probability))[:SHOWN]
    page: str = environment.from_string(source).render(
        policy=Markup(f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"),  # noqa: S704 - a hash
        decision=decision,
        headline=headline(decision),
        lines=[*lines(decision)],
        table=table(decision),
        worst=[request for request in worst if request.shortfall > 0],
    )
    return page
