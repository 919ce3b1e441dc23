"""Decisions a processor second: all options in one pass, beside each option by itself and beside writing the label.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.decide_speed

SmolLM2-135M reads messages to a shop with ten options, as `trainer=hf` does on a CPU. The three ways take turns, so
that a machine that is busy slows all of them; the ratios hold for more machines than the rates do. Each way chooses
among the same options; the log-probabilities of the first two are compared. Nothing is asserted.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import OUT, command_line, spread, table_head, table_row
from framework.api import Message, Prompt
from framework.api.program import make_plan
from framework.api.training import Backend
from framework.testing import compose
from framework_plugins.decide.config import TicketsConfig
from framework_plugins.decide.scoring import Array, score_options
from framework_plugins.decide.tickets import LABELS, Tickets

OPTIONS = (*LABELS, "invoice", "change of address", "complaint about staff", "job application", "something else")
QUESTION = "What is this message about? Answer with one of these options only.\n{options}\n\n{text}"
ONE_PASS, BY_ITSELF = "all options in one pass", "each option by itself"
LONGEST_LABEL = 12
"""Tokens of an answer."""


def prompts(count: int) -> list[Prompt]:
    """Return messages with ten options each."""
    listed = "\n".join(f"- {option}" for option in OPTIONS)
    rows = Tickets(TicketsConfig()).load().prompts or []
    texts = [str(row.fields["text"]) for row in itertools.islice(rows, count)]
    return [Prompt((Message("user", QUESTION.format(options=listed, text=text)),), options=OPTIONS) for text in texts]


def timed(work: Callable[[], object], rows: int) -> float:
    """Return rows a processor second."""
    begun = time.process_time()
    work()
    return rows / (time.process_time() - begun)


def main(arguments: Sequence[str]) -> int:
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    words = ["model=smollm2_135m", "data=tickets", "format=decide", f"format.labels=[{','.join(OPTIONS)}]"]
    plan = make_plan(compose(words), run_dir=Path("unused"))
    backend: Backend = plan.trainer.create()
    asked = prompts(given.rows)
    scores: dict[str, Array] = {}
    with backend.open(plan) as model:

        def together() -> None:
            scores[ONE_PASS] = score_options(model, asked).log_probs

        def one_by_one() -> None:
            scores[BY_ITSELF] = np.array(
                [
                    [
                        score_options(model, [Prompt(prompt.messages, options=(option,))]).log_probs[0, 0]
                        for option in OPTIONS
                    ]
                    for prompt in asked
                ]
            )

        def written() -> None:
            starts = [model.tokenize(model.render(prompt)) for prompt in asked]
            model.complete(starts, max_new_tokens=LONGEST_LABEL, batch_size=len(starts))

        ways = {ONE_PASS: together, BY_ITSELF: one_by_one, "the label is written": written}
        together()  # what is made once
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, work in ways.items():
                rates[name].append(timed(work, len(asked)))
    OUT.print(table_head("way", "rows a processor second", "one pass is faster by"))
    first = rates[ONE_PASS]
    for name, values in rates.items():
        ratios = [one / other for one, other in zip(first, values, strict=True)]
        OUT.print(table_row(name, spread(values, 2), f"{spread(ratios, 1)} times"))
    one, other = (scores[name] for name in (ONE_PASS, BY_ITSELF))
    OUT.print(f"largest difference of a log-probability: {np.abs(one - other).max():.1e} nats")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
