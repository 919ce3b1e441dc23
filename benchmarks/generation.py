"""Answers of the quickstart's prompts: one by one with transformers' `generate`, and as the run makes them.

    .venv/bin/python -m benchmarks.generation [--repeats 3]

The model is SmolLM2-135M as it comes, greedy, up to 64 tokens. Both must say the same; where bf16 rounds a tie another
way in a batch, the number of answers that differ is printed. Nothing is asserted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import OUT, command_line, spread
from framework.config.check import check
from framework.config.compose import compose
from framework.data.stage import load_data
from framework.plan.make import make_plan

NEW_TOKENS = 64


def one_by_one(model: Any, prompts: list[Any]) -> list[str]:
    """Answer each prompt by itself."""
    answers = []
    for prompt in prompts:
        ids = torch.tensor([model.tokenizer(model.chat.prompt(prompt.messages), add_special_tokens=False)["input_ids"]])
        made = model.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=sorted(model.stop_ids),
            pad_token_id=model.pad_id,
        )[0, ids.shape[1] :]
        answers.append(str(model.tokenizer.decode(made, skip_special_tokens=True)))
    return answers


def main() -> None:
    """Measure."""
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    config = compose(["+experiment=quickstart", "logger=[]", f"trainer.dtype={arguments.dtype}"])
    check(config)
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(config, run_dir=Path(folder, "run"))
        with plan.trainer.create().open(plan) as model:
            prompts = list(load_data(plan, model).prompts)
            size = plan.evaluator["prompts"].config.batch_size
            model.generate(prompts[:2], max_new_tokens=2, batch_size=2)
            seconds: dict[str, list[float]] = {"one by one": [], "framework": []}
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                with torch.inference_mode():
                    plain = one_by_one(model, prompts)
                middle = time.perf_counter()
                ours = [answer.text for answer in model.generate(prompts, max_new_tokens=NEW_TOKENS, batch_size=size)]
                seconds["one by one"].append(middle - start)
                seconds["framework"].append(time.perf_counter() - middle)
    OUT.print(
        f"{len(prompts)} prompts, {model.facts['dtype']}, {arguments.repeats} repeats, median (min-max) in seconds"
    )
    for name, some in seconds.items():
        OUT.print(f"{name}: {spread(some, 2)}")
    ratio = statistics.median(seconds["one by one"]) / statistics.median(seconds["framework"])
    differ = sum(one != other for one, other in zip(plain, ours, strict=True))
    OUT.print(f"{ratio:.1f} times as fast; {differ} of {len(prompts)} answers differ")


if __name__ == "__main__":
    main()
