"""What the results say: one table of any number of GPUs, and a page with all numbers of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from framework.api import GIB, count
from framework_plugins.gpu.contenders import CONTENDERS, OURS, OURS_UNSLOTH, TRL, TRL_PACKED, UNSLOTH
from framework_plugins.gpu.parts import all_parts
from framework_plugins.gpu.results import GpuResults, Measured, PartResult

PEERS = (TRL, TRL_PACKED, UNSLOTH)
SHARED_GOAL, UNSLOTH_GOAL = 3.0, 0.98
NONE_YET = "No number from a GPU exists yet."
FEW = 0.03
"""Losses of the first step may lie this far apart, as a share: the contenders draw the rows in different orders."""


def page(results: Sequence[GpuResults]) -> str:
    """Return the page in Markdown: the table of all, and a section for each."""
    if not results:
        return NONE_YET
    return "\n".join([table(results), *(line for result in results for line in ("", *_section(result)))])


def table(results: Sequence[GpuResults]) -> str:
    """Return the tokens per second of all contenders, a line for each part of each GPU."""
    lines = [
        f"| GPU | part | {' | '.join(CONTENDERS)} |",
        f"|---|---|{'---:|' * len(CONTENDERS)}",
    ]
    for result in results:
        for name, part in result.parts.items():
            rates = (_rate(part.results.get(who)) for who in CONTENDERS)
            lines.append(f"| {result.card.about} | {name} | {' | '.join(rates)} |")
    return "\n".join(lines)


def _rate(measured: Measured | None) -> str:
    return f"{measured.tokens_per_second:,.0f}" if measured else "-"


def _section(results: GpuResults) -> Iterator[str]:
    yield f"## {results.card.about}"
    yield ""
    driver = f"driver {results.driver}, " if results.driver else ""
    yield f"framework {results.framework}, {driver}{results.system}, Python {results.python}."
    for name, versions in results.versions.items():
        yield f"Environment {name}: {', '.join(' '.join(pair) for pair in versions.items())}."
    yield ""
    yield "| part | who | tokens/s | peak GiB | plan GiB | first loss | held-out loss | how |"
    yield "|---|---|---:|---:|---|---:|---:|---|"
    for name, part in results.parts.items():
        for who, measured in part.results.items():
            yield f"| {name} | {who} | {_numbers(measured)} | {measured.notes.replace('|', '/')} |"
    for name, part in results.parts.items():
        yield ""
        yield f"`{name}`, {part.rows:,} rows, {part.tokens:,} tokens, {count(part.steps, 'step')}:"
        yield ""
        goal_lines = () if results.dry else goals(part, name)
        yield from (f"- {line}" for line in (*goal_lines, *_losses(part.results), *_left_out(part)))
    pending = [name for name in all_parts() if name not in results.parts]
    if pending:
        yield ""
        yield f"Parts that did not run: {', '.join(pending)}."


def _numbers(measured: Measured) -> str:
    peak = f"{measured.peak_reserved / GIB:.1f}" if measured.peak_reserved else ""
    planned = f"{measured.plan_low / GIB:.1f}-{measured.plan_high / GIB:.1f}" if measured.plan_high else ""
    first_loss = f"{measured.first_losses[0]:.3f}" if measured.first_losses else ""
    held_out_loss = "" if measured.held_out_loss is None else f"{measured.held_out_loss:.3f}"
    return f"{measured.tokens_per_second:,.0f} | {peak} | {planned} | {first_loss} | {held_out_loss}"


def _left_out(part: PartResult) -> Iterator[str]:
    yield from (f"{who}: left out, {why}" for who, why in part.missing.items())
    for who in CONTENDERS:
        if who not in part.results and who not in part.missing:
            yield f"{who}: not run yet"


def goals(part: PartResult, name: str) -> Iterator[str]:
    """Say which goals a part reaches, and which it misses."""
    results = part.results
    rates = {who: measured.tokens_per_second for who, measured in results.items()}

    def best(names: Sequence[str]) -> float | None:
        return max((rates[who] for who in names if who in rates), default=None)

    ours, trl, peers = best((OURS, OURS_UNSLOTH)), best((TRL, TRL_PACKED)), best(PEERS)
    if ours and peers and name.endswith("-shared"):
        yield _goal("3 times the best peer", ours / peers, SHARED_GOAL)
    elif ours and trl:
        yield _goal("at least the best TRL", ours / trl, 1.0)
    if UNSLOTH in rates and OURS_UNSLOTH in rates:
        ratio = rates[OURS_UNSLOTH] / rates[UNSLOTH]
        yield _goal(f"trainer=unsloth at least {UNSLOTH_GOAL} times plain Unsloth", ratio, UNSLOTH_GOAL)
    for who in (OURS, OURS_UNSLOTH):
        if who in results and results[who].plan_high and results[who].peak_reserved:
            inside = results[who].plan_low <= results[who].peak_reserved <= results[who].plan_high
            yield f"{who}: peak {'inside' if inside else 'outside'} the plan's range"


def _losses(results: Mapping[str, Measured]) -> Iterator[str]:
    """Say how far the first losses lie apart, and name a contender whose loss is another one."""
    first_losses = {who: measured.first_losses[0] for who, measured in results.items() if measured.first_losses}
    if len(first_losses) > 1:
        middle = sorted(first_losses.values())[len(first_losses) // 2]
        far = {who: loss for who, loss in first_losses.items() if not abs(loss - middle) <= FEW * abs(middle)}
        outliers = ", ".join(f"{who} {loss:.3f}" for who, loss in far.items())
        yield f"first losses: {f'{outliers}, and the middle one is {middle:.3f}' if far else f'within {FEW:.0%}'}"


def _goal(goal: str, reached: float, least: float) -> str:
    return f"{goal}: {'reached' if reached >= least else 'missed'}, {reached:.2f}"
