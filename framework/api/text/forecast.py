"""Human-readable forecast of a run. Every logger renders these facts in its own format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from framework.api.records import Disk, FitStatus, Forecast, Memory, Speed, Traffic, Work
from framework.api.text.results import Fact, count, facts_of
from framework.util import host
from framework.util.host import GIB

SHOWN_SHARE = 0.005
"""Parts below this share of the whole are left out."""
MINUTE, HOUR, DAY = 60, 3600, 86_400
THOUSAND = 1000
BARS = "▁▂▃▄▅▆▇█"


@facts_of.register
def _forecast(forecast: Forecast) -> Iterator[Fact]:
    """Say what a run will need; what is not known is left out, except the memory."""
    if forecast.memory:
        yield from _memory(forecast.memory)
    else:
        yield Fact("memory", f"not estimated: {forecast.why}")
    if forecast.applied:
        yield Fact("changed to fit", " ".join(forecast.applied), amiss=True)
    if forecast.changes:
        lines = tuple(
            f"{' '.join(change.overrides)}: saves {_gib(change.saves)}, costs {change.costs}"
            for change in forecast.changes
        )
        enough = forecast.changes[-1].fit_status
        ends = {FitStatus.too_large: "it still does not fit", FitStatus.tight: "it is tight"}.get(enough, "it fits")
        order, subject, pronoun = (
            (", added up in this order", "all of them", "them") if lines[1:] else ("", "this", "it")
        )
        text = f"{count(len(lines), 'change')}{order}: {ends} with {subject}. {when_applied(forecast, pronoun)}"
        name = "changes" if enough is FitStatus.too_large else "would fit with"
        yield Fact(name, text, lines, amiss=True)
    if forecast.smaller:
        change = forecast.smaller
        text = f"{change.overrides[0]}, with all of these: saves {_gib(change.saves)} more, costs {change.costs}"
        yield Fact("a smaller model", text, amiss=True)
    if forecast.traffic:
        yield _traffic(forecast.traffic)
    if forecast.speed:
        yield _speed(forecast.speed)
    if forecast.work:
        yield _work(forecast.work)
        if forecast.work.rates:
            yield _rates(forecast.work.rates)
    if forecast.disk:
        yield _disk(forecast.disk)
    if forecast.export_memory:
        yield _exports(forecast.export_memory)
    if len(forecast.advice) == 1:
        yield Fact("advice", forecast.advice[0], amiss=True)
    elif forecast.advice:
        yield Fact("advice", count(len(forecast.advice), "suggestion"), tuple(forecast.advice), amiss=True)


def when_applied(forecast: Forecast, pronoun: str) -> str:
    """Say that `plan.apply=true` applies the changes of a forecast, and when if it is set already."""
    if not forecast.apply_later:
        return f"plan.apply=true applies {pronoun}"
    known = forecast.memory is not None and forecast.memory.rows_known
    when = "in another run, which knows the rows" if known else "after stages=[data], which reads the rows"
    return f"plan.apply=true applies {pronoun} {when}"


def _memory(memory: Memory) -> Iterator[Fact]:
    fit_status = {
        FitStatus.fits: "it fits",
        FitStatus.tight: "it is tight, and may fail",
        FitStatus.too_large: "it does not fit",
    }[memory.fit_status]
    rows = "" if memory.rows_known else f" for rows of {count(memory.longest, 'token')}"
    yield Fact(
        "memory",
        f"{_gib(memory.reserved)}, between {_gib(memory.low)} and {_gib(memory.high)}{rows}; {memory.device} has "
        f"{_gib(memory.available)} free: {fit_status}",
        amiss=memory.fit_status is not FitStatus.fits,
    )
    total = memory.allocated
    parts = [f"{name} {_gib(size)}" for name, size in memory.parts.items() if size > SHOWN_SHARE * total]
    phase = max(memory.phases, key=lambda name: memory.phases[name])
    step = f"at most {_gib(memory.phases[phase])} in a step ({phase}, {memory.tokens:,} tokens)"
    answers = memory.phases.get("answers", 0)
    at_once = f", and {_gib(answers)} for {memory.answers_at_once} answers at once"
    yield Fact("made up of", f"{', '.join(parts)}; {step}{at_once if answers > SHOWN_SHARE * total else ''}")
    if memory.attention:
        yield Fact("attention", memory.attention)
    if memory.evaluated_on > 1:
        yield Fact(
            "evaluation", f"the layers are split over {memory.evaluated_on} GPUs of one machine; tested on a CPU only"
        )


def _traffic(traffic: Traffic) -> Fact:
    """Say how a group divides the weights, and how much each process receives."""
    parts = [(traffic.shards, "shard", traffic.in_pass, "pass"), (traffic.replicas, "replica", traffic.in_step, "step")]
    several = [(quantity, kind, size, unit) for quantity, kind, size, unit in parts if quantity > 1]
    layout = " of ".join(count(quantity, kind) for quantity, kind, *_ in reversed(several))
    received = " and ".join(f"{_gib(size)} in a {unit} from other {kind}s" for _, kind, size, unit in several)
    return Fact("group", f"{layout}; each process receives {received}")


def _speed(speed: Speed) -> Fact:
    """Say how fast the training is, and how long rows take."""
    low, high = (f"{float(f'{rate:.2g}'):,.0f}" for rate in (speed.low, speed.high))
    source = "from published speeds" if speed.from_published else "judging by earlier runs on this machine"
    shortest, longest = (roughly(THOUSAND * speed.row_tokens / rate) for rate in (speed.high, speed.low))
    rows = f"a thousand rows of {'about ' * speed.estimated}{count(speed.row_tokens, 'token')}"
    return Fact("speed", f"about {low} to {high} tokens a second, {source}: {rows} take {shortest} to {longest}")


def _work(work: Work) -> Fact:
    if work.estimated:
        row = f"{count(work.rows, 'row')} of about {count(round(work.tokens / work.rows), 'token')}"
        text = f"about {count(work.steps, 'step')}, {count(work.epochs, 'epoch')} of about {row}{_times(work)}"
        return Fact("work", f"{text}; estimated from the first rows, exact after stages=[data]")
    return Fact(
        "work",
        f"{count(work.steps, 'step')}, {count(work.epochs, 'epoch')} of {count(work.rows, 'row')} and "
        f"{count(work.tokens, 'token')}{_times(work)}",
    )


def _times(work: Work) -> str:
    """Say how long training and evaluation take, and what that costs."""
    evaluated = work.evaluation_seconds or 0.0
    answers = f"; all answers take at most {roughly(evaluated)}" if evaluated else ""
    if work.seconds_low is None or work.seconds_high is None:
        return answers
    low, high = roughly(work.seconds_low), roughly(work.seconds_high)
    duration = f"about {low} to {high}, from published speeds"
    if not work.from_published:
        duration = f"{low} to {high}, judging by earlier runs on this machine"
    price = ""
    if work.price_per_hour:
        costs = [seconds / HOUR * work.price_per_hour for seconds in (work.seconds_low, work.seconds_high + evaluated)]
        price = f"; at {work.price_per_hour:g} an hour that costs {costs[0]:.2g} to {costs[1]:.2g}"
    return f"; the training takes {duration}{answers}{price}"


def _rates(rates: Sequence[float]) -> Fact:
    """Draw the learning rate from the first step to the last."""
    peak = max(rates) or 1.0
    curve = "".join(BARS[round(rate / peak * (len(BARS) - 1))] for rate in rates)
    return Fact(
        "learning rate", f"{curve} {rates[0]:.2g} in the first step, at most {peak:.2g}, {rates[-1]:.2g} in the last"
    )


def _disk(disk: Disk) -> Fact:
    short = disk.needed > disk.free
    text = f"{_gib(disk.needed)} to write, {_gib(disk.free)} free"
    return Fact("disk", f"{text}: that is not enough" if short else text, amiss=short)


def _exports(needed: int) -> Fact:
    """Say how much memory merging and comparing need; the model is loaded then, but no optimizer states."""
    free = host.memory().available
    text = f"{_gib(needed)} of this machine's memory to merge and compare, {_gib(free)} free"
    return Fact("exports", f"{text}: that is not enough" if needed > free else text, amiss=needed > free)


def roughly(seconds: float) -> str:
    """Return a time to ten minutes, as for an estimate; below an hour to a minute, above a day to an hour."""
    if round(seconds) < MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds / MINUTE) < HOUR / MINUTE:
        return f"{seconds / MINUTE:.0f} min"
    if seconds >= DAY:
        return f"{seconds / HOUR:.0f} h"
    hours, minutes = divmod(round(seconds / MINUTE, -1), HOUR / MINUTE)
    return f"{hours:.0f} h {minutes:.0f} min" if minutes else f"{hours:.0f} h"


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:.2f} GiB" if gib < 1 else f"{gib:.1f} GiB"
