"""What the console prints about a training when the run is complete."""

from __future__ import annotations

from framework import Plan
from framework.api import GIB, Forecast, Report, count
from framework_plugins.lib.sentences import health_facts

LEFT_OUT = ("speed", "processed", "trainable parameters")


def training_rows(
    report: Report, expected: Forecast | None, plan: Plan | None, *, details: bool = True
) -> dict[str, str]:
    """Return the facts by their names, or the main ones; none if the run folder holds no training."""
    train = report.train
    if train is None:
        return {}
    memory = expected.memory if expected else None
    expectation = f" ({memory.allocated / GIB:.2f} expected)" if memory else ""
    rows = {
        "method": plan.method_line if plan else "",
        "training": f"{count(train.steps, 'step')} in {train.seconds:.0f} s, loss {train.train_loss:.3f} on average, "
        f"{train.last_loss:.3f} at the end",
        "speed": f"{report.tokens_per_second or 0:.0f} tokens/s, {report.supervised_tokens_per_second or 0:.0f} of "
        "them learned",
        "processed": f"{train.computed_tokens:,} tokens ({train.tokens:,} in the rows)"
        if train.computed_tokens
        else "",
        "trainable parameters": f"{train.trainable_parameters / 1e6:.2f} of {train.total_parameters / 1e6:.1f} million",
        "peak memory": f"{train.peak_memory_bytes / GIB:.2f} GiB{expectation}",
        "ran out of memory": "; ".join(train.oom_fallbacks),
    }
    if not details:
        training = (
            f"{count(train.steps, 'step')} in {train.seconds:.0f} s, {report.tokens_per_second or 0:.0f} tokens/s"
        )
        rows |= {"training": f"{training}, loss {train.last_loss:.3f} at the end"}
        rows = {name: text for name, text in rows.items() if name not in LEFT_OUT}
    if plan:
        rows |= {fact.name: fact.text for fact in health_facts(train, plan.training)}
    return {name: text for name, text in rows.items() if text}
