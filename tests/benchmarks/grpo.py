"""Processor seconds of a step of `method=grpo` beside TRL's GRPOTrainer: drawing answers, and learning from them.

    .venv/bin/python -m tests.benchmarks.grpo
    .venv/bin/python -m tests.benchmarks.grpo --steps 2 --who framework

Each training is a process of its own with one thread. Both draw 8 answers of at most 64 tokens to 4 prompts a step,
with the quickstart's model in bf16. Seconds are for 1000 drawn tokens, since answers are not equally long. Nothing is
asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.preferences import model_folder, processor_seconds

OUT = Console(soft_wrap=True, highlight=False, markup=False)
WHO = ("framework", "trl")
PROMPTS, ANSWERS, TOKENS, RATE, SEED = 4, 8, 64, 1e-5, 1
ASKS = "Write a few sentences about the {} and the {}, so that a child of six years understands what they are good for."
WORDS = ("garden", "letter", "bottle", "stone", "river", "table", "window", "bread", "horse", "cloud", "paper")


def vowels(text: str) -> float:
    """Return a reward that differs from answer to answer."""
    return sum(map(text.count, "aeiou")) / max(1, len(text))


class Meter:
    """Adds up what calls take, of all threads of this process."""

    def __init__(self, call: Callable[..., Any], count: Callable[[Any], int]) -> None:
        self.call, self.count = call, count
        self.seconds, self.tokens = 0.0, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        found: list[Any] = []
        self.seconds += processor_seconds(lambda: found.append(self.call(*given, **named)))
        self.tokens += self.count(found[0])
        return found[0]


def ours(folder: Path, asks: Sequence[str], steps: int) -> tuple[float, Meter]:
    """Train with this program; return all seconds, and those of the draws."""
    from framework.api import Rewards
    from framework.api.protocols import TrainRun
    from framework.config.compose import compose
    from framework.data.stage import load_data
    from framework.plan.make import make_plan

    rows = folder / "rows.jsonl"
    lines = [{"messages": [{"role": "user", "content": ask}]} for ask in asks]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = [
        "model=smollm2_135m", "data=local_file", f"data.path={rows}", "method=grpo", "reward=[length]",
        "data.validation_split=0", "evaluator=[]", "exporter=[]", "logger=[]", "audit=[]", f"seed={SEED}",
        f"trainer.max_steps={steps}", f"trainer.per_device_train_batch_size={PROMPTS}", "trainer.dtype=bf16",
        "trainer.gradient_accumulation_steps=1", f"trainer.learning_rate={RATE}", "stages=[data,train]",
        f"method.num_generations={ANSWERS}", f"method.max_completion_length={TOKENS}", "trainer.warmup_steps=0",
        f"trainer.per_device_eval_batch_size={PROMPTS * ANSWERS}", "trainer.max_seq_length=512",
    ]  # fmt: skip

    def reward(prompts: Sequence[Any], answers: Sequence[Any], **_: Any) -> Rewards:
        del prompts
        return Rewards([vowels(answer.text) for answer in answers], {}, {})

    plan = make_plan(compose(words), run_dir=folder / "run")
    with plan.trainer.create().open(plan) as model:
        data = load_data(plan, model)
        model.open_losses()  # loads the weights
        meter = Meter(model.sample, lambda drawn: sum(len(each.log_probs) for some in drawn for each in some))
        model.sample = meter
        run = TrainRun(
            folder / "run/checkpoint", folder / "run/scratch", lambda _: None, prompts=data.train_prompts, reward=reward
        )
        return processor_seconds(lambda: model.train(data.train_groups, [], run)), meter


def trl(folder: Path, asks: Sequence[str], steps: int) -> tuple[float, Meter]:
    """Train with TRL's trainer; return all seconds, and those of the draws."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    place = model_folder(folder)

    def reward(completions: Sequence[Any], **_: Any) -> list[float]:
        return [vowels(completion[0]["content"]) for completion in completions]

    args = GRPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=PROMPTS * ANSWERS, max_steps=steps, bf16=True,
        use_cpu=True, learning_rate=RATE, report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True,
        seed=SEED, gradient_checkpointing=False, num_generations=ANSWERS, max_completion_length=TOKENS,
    )  # fmt: skip
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16),
        reward,
        args,
        Dataset.from_list([{"prompt": [{"role": "user", "content": ask}]} for ask in asks]),
        processing_class=AutoTokenizer.from_pretrained(place),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    meter = Meter(trainer._generate, lambda made: sum(map(len, made[1])))  # noqa: SLF001 - TRL has no public name
    trainer._generate = meter  # noqa: SLF001
    return processor_seconds(trainer.train), meter


def one(who: str, steps: int) -> None:
    """Train once in this process, and print a line of JSON."""
    warnings.simplefilter("ignore")
    asks = [ASKS.format(a, b) for a in WORDS for b in WORDS if a < b][: PROMPTS * steps]
    with tempfile.TemporaryDirectory() as place:
        seconds, draws = (trl if who == "trl" else ours)(Path(place), asks, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    thousands = draws.tokens / 1000
    values = {"tokens": draws.tokens, "draw": draws.seconds / thousands, "learn": (seconds - draws.seconds) / thousands}
    OUT.print(json.dumps({**values, "peak": peak}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--who", nargs="+", choices=WHO, default=[*WHO])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        one(asked.one, asked.steps)
        return
    OUT.print(f"{PROMPTS} prompts x {ANSWERS} answers, {asked.steps} steps; load {os.getloadavg()[0]:.1f}\n")
    OUT.print(
        "| who | drawn tokens | s/1000 drawn | s/1000 learned | s/1000 in all | peak MiB |\n|---|---|---|---|---|---|"
    )
    for who in asked.who:
        command = [sys.executable, "-m", "tests.benchmarks.grpo", "--one", who, "--steps", str(asked.steps)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            OUT.print(f"{who}: {done.stderr[-2000:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        whole = found["draw"] + found["learn"]
        OUT.print(
            f"| {who} | {found['tokens']} | {found['draw']:.1f} | {found['learn']:.1f} | {whole:.1f} | "
            f"{found['peak']:.0f} |"
        )


if __name__ == "__main__":
    main()
