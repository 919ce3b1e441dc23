"""Pairs per processor second and peak memory of `method=dpo`, beside TRL's DPOTrainer and our own sft, one epoch each.

    .venv/bin/python -m benchmarks.preferences

Each training is a process of its own with one thread, and the contenders take turns. The time is that of `train`, with
the reference; models and rows are loaded before. The prompts have nothing in common. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line, table_head, table_row

WORDS = "a big cat can find its old home near the river and then sleep all day under that small green tree with you"
WORKS = {"long": (150, 40), "short": (12, 45)}
"""Words of the prompt, and of each answer."""
WHO = ("framework", "trl", "trl, precomputed", "framework sft")
ROLES = {"prompt": "user"}
BATCH, PAIRS, RATE, SEED = 4, 12, 2e-5, 1


def pairs(work: str, count: int) -> list[dict[str, str]]:
    """Return pairs of texts without meaning."""
    draw, known = random.Random(SEED), WORDS.split()  # noqa: S311 - which words, not a secret
    prompt, answer = WORKS[work]

    def text(size: int) -> str:
        return " ".join(draw.choices(known, k=size))

    return [{"prompt": text(prompt), "chosen": text(answer), "rejected": text(answer)} for _ in range(count)]


def processor_seconds(train: Callable[[], Any]) -> float:
    """Return what a call takes, of all threads of this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    train()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(rows: Path, folder: Path, method: str) -> tuple[float, str]:
    """Train with this program; return the seconds, and the first loss."""
    from framework.api.protocols import TrainRun
    from framework.config.compose import compose
    from framework.data.stage import load_data
    from framework.plan.make import make_plan

    words = [
        "+experiment=quickstart", "data=local_file", f"data.path={rows}", "format=preference", f"method={method}",
        "data.validation_split=0", "evaluator=[]", "exporter=[]", "logger=[]", "audit=[]", f"seed={SEED}",
        "trainer.num_train_epochs=1", "trainer.max_steps=null", f"trainer.per_device_train_batch_size={BATCH}",
        "trainer.gradient_accumulation_steps=1", f"trainer.learning_rate={RATE}", "stages=[data,train]",
    ]  # fmt: skip
    plan = make_plan(compose(words), run_dir=folder / "run")
    steps: list[Any] = []
    with plan.trainer.create().open(plan) as model:
        data = load_data(plan, model)
        model.open_losses()  # loads the weights
        run = TrainRun(folder / "run/checkpoint", folder / "run/scratch", steps.append)
        seconds = processor_seconds(lambda: model.train(data.train_groups, [], run))
    return seconds, f"{steps[0].loss:.5f}"


def trl(rows: Path, folder: Path, *, precompute: bool) -> tuple[float, str]:
    """Train with TRL's trainer; return the seconds, and the first loss."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    place = model_folder(folder)
    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    talks = [
        {name: [{"role": ROLES.get(name, "assistant"), "content": text}] for name, text in pair.items()}
        for pair in lines
    ]
    args = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=BATCH, num_train_epochs=1, bf16=True, use_cpu=True,
        learning_rate=RATE, report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True, seed=SEED,
        gradient_checkpointing=False, precompute_ref_log_probs=precompute,
    )  # fmt: skip
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16),
        args=args,
        train_dataset=Dataset.from_list(talks),
        processing_class=AutoTokenizer.from_pretrained(place),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    seconds = processor_seconds(trainer.train)
    return seconds, f"{trainer.state.log_history[0]['loss']:.5f}"


def model_folder(folder: Path) -> str:
    """Return where the model of the quickstart is."""
    from framework.config.compose import compose
    from framework.plan.make import make_plan

    plan = make_plan(compose(["+experiment=quickstart", "logger=[]"]), run_dir=folder / "unused")
    with plan.trainer.create().open(plan) as model:
        return str(model.place.folder)


def one(who: str, rows: Path) -> None:
    """Train once in this process, and print a line of JSON."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        os.environ["FRAMEWORK_CACHE"] = place  # a reference of an earlier run would be free
        folder = Path(place)
        if who.startswith("trl"):
            seconds, loss = trl(rows, folder, precompute="precomputed" in who)
        else:
            seconds, loss = ours(rows, folder, "sft" if "sft" in who else "dpo")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    OUT.print(json.dumps({"seconds": seconds, "peak": peak, "loss": loss}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table for each work."""
    parser = command_line(__doc__)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=[*WORKS])
    parser.add_argument("--who", nargs="+", choices=WHO, default=[*WHO])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        one(asked.one[0], Path(asked.one[1]))
        return
    for work in asked.works:
        with tempfile.TemporaryDirectory() as place:
            rows = Path(place, "pairs.jsonl")
            rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs(work, PAIRS)), encoding="utf-8")
            OUT.print(f"\n{work}: {PAIRS} pairs, {BATCH} a step; load {os.getloadavg()[0]:.1f}\n")
            OUT.print(table_head("who", "pairs/processor second", "peak MiB", "first loss"))
            for who in asked.who:
                command = [sys.executable, "-m", "benchmarks.preferences", "--one", who, str(rows)]
                env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
                done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
                if done.returncode:
                    OUT.print(table_row(who, f"failed: {done.stderr[-1500:]}"))
                    continue
                made = json.loads(done.stdout.splitlines()[-1])
                rate = PAIRS / made["seconds"]
                OUT.print(table_row(who, f"{rate:.3f}", f"{made['peak']:.0f}", made["loss"]))


if __name__ == "__main__":
    main()
