"""`python -m framework audit-rewards [OVERRIDES…] [--answers N] [--prompts N] [--json]`: what is wrong with rewards.

Made answers are scored first, without the weights of the model; then answers of the model itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table

from framework.api import rewarding
from framework.api.protocols import Backend, ModelSource, RewardContext
from framework.api.records import Answer, Finding, Prompt, Rewards, Severity
from framework.api.schema import Stage
from framework.api.selection import Selection
from framework.api.text import visible
from framework.cli.arguments import complete_overrides
from framework.cli.commands import AuditRewardsCommandConfig
from framework.data import reward_audit
from framework.data.stage import load_data
from framework.plan.load import load_plan
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError

FOUND = 1
SHOWN_CHARACTERS = 60
METHOD = "method=best_of_n"
"""What an audit needs to know of a run that names no method: how answers are drawn."""


@dataclass(frozen=True)
class Line:
    """A reward on the answers of the model. `known` is the share of answers that it has a number for."""

    reward: str
    weight: float
    known: float
    lowest: float | None
    mean: float | None
    highest: float | None
    milliseconds: float


class AuditRewardsCommand:
    """Audits the rewards of the run that the overrides describe."""

    def __init__(self, config: AuditRewardsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print what was found; return 1 if something is serious."""
        parser = CommandParser("audit-rewards", AuditRewardsCommandConfig.__doc__)
        parser.add_overrides("the run whose rewards are audited, as on the command line of a run")
        parser.add_argument(
            "--answers", type=int, default=4, help="answers of the model to each prompt; 0: made ones only"
        )
        parser.add_argument("--prompts", type=int, default=16, help="prompts that the model answers")
        parser.add_argument("--json", action="store_true", help="print JSON")
        options = parser.read(arguments)
        for option, value, minimum in (("answers", options.answers, 0), ("prompts", options.prompts, 1)):
            if value < minimum:
                raise FrameworkError(f"--{option}={value} must be a number of at least {minimum}")
        words = complete_overrides(options.overrides)
        words += [] if any(word.startswith("method=") for word in words) else [METHOD]
        with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
            findings, lines, shown = _audit(words, options.prompts, options.answers)
        if options.json:
            result = {
                "rewards": [asdict(line) for line in lines],
                "findings": [asdict(finding) for finding in findings],
            }
            print(json.dumps(result, indent=1, ensure_ascii=False))
        else:
            _show(Console(highlight=False, emoji=False, markup=False), findings, lines, shown)
        return FOUND if any(finding.severity is Severity.serious for finding in findings) else 0


Shown = list[tuple[Prompt, Answer, float | None]]


def _audit(words: Sequence[str], prompt_count: int, answer_count: int) -> tuple[list[Finding], list[Line], Shown]:
    plan = load_plan(words)
    if not plan.reward:
        raise FrameworkError("audit-rewards needs rewards to audit: give reward=[NAME,…]")
    # Nothing else is needed of the run. Its rows keep the fields that the rewards read, and because it does not train,
    # its data stage does not audit the rewards, too.
    empty: dict[str, Selection] = {}
    settings = dataclasses.replace(plan.settings, stages=[Stage.data, Stage.evaluate])
    plan = dataclasses.replace(plan, settings=settings, audit=empty, evaluator=empty, exporter=empty, logger=empty)
    source: ModelSource = plan.model.create()
    source.check()
    backend: Backend = plan.trainer.create()
    with backend.open(plan) as model:
        data = load_data(plan, model)
        step_answers, severities = round(plan.batch * plan.cost.rows), [*reversed(Severity)]
        findings = reward_audit.findings(plan.reward, model.tokenize, data.train_prompts, step_answers)
        findings.sort(key=lambda finding: severities.index(finding.severity))
        sample, reward = (
            reward_audit.spread(data.train_prompts, prompt_count),
            rewarding.rewarder(plan.reward).of_texts(),
        )
        if answer_count < 1 or not sample or not reward.rewards:
            return findings, [], []
        config = plan.method.config
        params = dataclasses.replace(config.sampling(plan.seed), n=answer_count)
        with model.as_base():
            generate = rewarding.limited(model.sample, config)
            groups = generate(sample, params)
    flat = [(prompt, answer) for prompt, group in zip(sample, groups, strict=True) for answer in group]
    prompts, answers = [prompt for prompt, _ in flat], [answer for _, answer in flat]
    rewards = reward(prompts, answers)
    findings += reward_audit.drawn([*zip(sample, groups, strict=True)], rewards)
    lines = [*_lines(reward, rewards, prompts, answers)]
    return findings, lines, [(*pair, total) for pair, total in zip(flat, rewards.total, strict=True)]


def _lines(
    reward: rewarding.RunRewards, rewards: Rewards, prompts: Sequence[Prompt], answers: Sequence[Answer]
) -> Iterator[Line]:
    for name, items in rewards.items.items():
        numbers = [item for item in items if item is not None]
        begun = time.perf_counter()
        reward.score(name, prompts[:1], answers[:1], RewardContext())
        took = 1000 * (time.perf_counter() - begun)
        lowest, mean, highest = (min(numbers), fmean(numbers), max(numbers)) if numbers else (None, None, None)
        share = len(numbers) / len(items)
        yield Line(name, reward.weights[name], share, lowest, mean, highest, round(took, 1))


def _show(console: Console, findings: Sequence[Finding], lines: Sequence[Line], shown: Shown) -> None:
    if lines:
        table = Table("reward", "weight", "has a number", "lowest", "mean", "highest", "ms an answer", box=None)
        for line in lines:
            numbers = ("-" if value is None else f"{value:.3g}" for value in (line.lowest, line.mean, line.highest))
            table.add_row(line.reward, f"{line.weight:g}", f"{line.known:.0%}", *numbers, f"{line.milliseconds:g}")
        console.print(table)
        scored = sorted((row for row in shown if row[2] is not None), key=lambda row: row[2] or 0.0)
        for word, rows in (("highest", scored[-2:][::-1]), ("lowest", scored[:2])):
            for prompt, answer, total in rows:
                text = visible(answer.text[:SHOWN_CHARACTERS], "⏎")
                console.print(f"{word} {total:.3g}: {prompt.where}: {text}", soft_wrap=True)
    for finding in findings:
        places = f" ({', '.join(finding.examples)})" if finding.examples else ""
        advice = f"{finding.advice[:1].upper()}{finding.advice[1:]}"
        console.print(f"{finding.severity}: {finding.name}: {finding.text}{places}. {advice}", soft_wrap=True)
    if not findings:
        console.print("the audit found nothing")
