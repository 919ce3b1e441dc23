"""Answers of the quickstart's prompts: one by one with transformers' `generate`, and as the run makes them.

    .venv/bin/python -m benchmarks.generation [--repeats 3]
    .venv/bin/python -m benchmarks.generation --draws  # 64 answers as a method draws them, 8 to 64 at once

The model is SmolLM2-135M as it comes, greedy, up to 64 tokens. Both must say the same; where bf16 rounds a tie another
way in a batch, the number of answers that differ is printed. Draws are counted by tokens in a processor second, which
other processes change less than seconds, each number beside the others in turn. Nothing is asserted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import OUT, command_line, spread
from framework.api.training import SamplingParams
from framework.config.check import check
from framework.config.compose import compose
from framework.data.stage import load_data
from framework.plan.make import make_plan

NEW_TOKENS, DRAWN_TOKENS = 64, 48
AT_ONCE = (8, 16, 32, 64)


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


def draw(model: Any, prompts: list[Any], repeats: int) -> None:
    """Draw eight answers to each of eight prompts, several at once."""
    params, passes = SamplingParams(n=8, max_new_tokens=DRAWN_TOKENS, seed=0), [0]
    model.model.get_base_model().register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    rates: dict[int, list[float]] = {size: [] for size in AT_ONCE}
    answers: dict[int, list[tuple[int, ...]]] = {}
    counted: dict[int, int] = {}
    for repeat in range(repeats + 1):  # the first prepares the products of each shape
        for size in AT_ONCE:
            model.answers_at_once, passes[0], start = size, 0, time.process_time()
            answers[size] = [answer.ids for group in model.sample(prompts[:8], params) for answer in group]
            rate = sum(map(len, answers[size])) / (time.process_time() - start)
            counted[size] = passes[0]
            rates[size] += [rate] if repeat else []
    OUT.print(f"64 answers of at most {DRAWN_TOKENS} tokens, {model.facts['dtype']}, {repeats} repeats")
    for size in AT_ONCE:
        equal = sum(one == other for one, other in zip(answers[size], answers[AT_ONCE[0]], strict=True))
        times = statistics.median(rates[size]) / statistics.median(rates[AT_ONCE[0]])
        OUT.print(
            f"{size} at once: {counted[size]} passes, {spread(rates[size], 0)} tokens a processor second, {times:.1f} "
            f"times; {equal} answers as with {AT_ONCE[0]}"
        )


def main() -> None:
    """Measure."""
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--draws", action="store_true")
    arguments = parser.parse_args()
    config = compose(["+experiment=quickstart", "logger=[]", f"trainer.dtype={arguments.dtype}"])
    check(config)
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(config, run_dir=Path(folder, "run"))
        with plan.trainer.create().open(plan) as model:
            prompts = list(load_data(plan, model).prompts)
            if arguments.draws:
                draw(model, prompts, arguments.repeats)
                return
            model.generate(prompts[:2], max_new_tokens=2, batch_size=2)
            seconds: dict[str, list[float]] = {"one by one": [], "framework": []}
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                with torch.inference_mode():
                    plain = one_by_one(model, prompts)
                middle = time.perf_counter()
                ours = [answer.text for answer in model.generate(prompts, max_new_tokens=NEW_TOKENS, batch_size=16)]
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
