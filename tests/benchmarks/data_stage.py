"""Rows per second and peak memory of the data stage, beside TRL's own preparation of the same rows.

"prepare" is what TRL does too: read, format, render, tokenize and mask, here with the proof; the whole stage adds the
split that keeps near-duplicates together, and the audit.

    .venv/bin/python tests/benchmarks/data_stage.py [--rows 10000 100000 1000000] [--trl-rows 10000 100000]

The rows are pairs of exchanges of the chatterbot-corpus, all different, as prompt and completion; the tokenizer is
SmolLM2's. Each measurement runs in a process of its own on one core. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

OUT = Console(soft_wrap=True, highlight=False)
SIZES = (10_000, 100_000, 1_000_000)
ONE_CORE = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def pairs() -> list[tuple[str, str]]:
    """Return the English exchanges of the corpus, each once."""
    spec = find_spec("chatterbot_corpus")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install chatterbot-corpus")
    folder = Path(spec.submodule_search_locations[0], "data", "english")
    turns = (yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"] for file in sorted(folder.glob("*.yml")))
    talks = ([str(text).strip() for text in talk] for part in turns for talk in part)
    found = (pair for talk in talks for pair in itertools.pairwise(talk) if all(pair))
    return list(dict.fromkeys(found))


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Give rows that are all different: two exchanges of the corpus in one."""
    known = pairs()
    for number in range(count):
        step, place = divmod(number, len(known))
        (ask, answer), (more, rest) = known[place], known[(place + step + 1) % len(known)]
        yield {
            "prompt": [{"role": "user", "content": f"{ask} {more}"}],
            "completion": [{"role": "assistant", "content": f"{answer} {rest}"}],
        }


def write(file: Path, count: int) -> None:
    """Write the rows as JSON lines."""
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(count))


def peak() -> float:
    """Return the peak memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(file: Path, folder: Path, model_path: str) -> dict[str, float]:
    """Run the data stage: without a split and an audit, with a split, with both, and once more out of the cache."""
    from framework.config import compose
    from framework.data.stage import load_data
    from framework.plan.make import make_plan

    start = time.perf_counter()
    seconds: dict[str, float] = {"encode": 0.0}
    words = ["model=local", f"model.path={model_path}", "data=local_file", f"data.path={file}", "logger=[]"]
    runs = {
        "store": ["audit=[]", "data.validation_split=0"],
        "split": ["audit=[]"],
        "audit": ["audit=[standard]"],
        "again": ["audit=[standard]"],
    }
    before, tokens = 0.0, 0
    for name, more in runs.items():
        plan = make_plan(compose.compose([*words, *more]), run_dir=folder / "run")
        with plan.trainer.create().open(plan) as model:
            encode = model.encode

            def timed(examples: Sequence[Any], encode: Any = encode) -> Any:
                begin = time.perf_counter()
                made = encode(examples)
                seconds["encode"] += time.perf_counter() - begin
                return made

            model.encode = timed
            before = before or peak()
            begin = time.perf_counter()
            data = load_data(plan, model)
            seconds[name] = time.perf_counter() - begin
            tokens = tokens or data.result.tokens  # of the first run, which holds out none
    seconds["total"] = time.perf_counter() - start
    return {**seconds, "peak": peak(), "before": before, "tokens": tokens}


def trl(file: Path, folder: Path, model_path: str) -> dict[str, float]:
    """Let TRL's trainer load and prepare the same rows; its model is a tiny one and never runs."""
    import transformers
    from datasets import disable_progress_bars, load_dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    settings = SFTConfig(output_dir=str(folder), max_length=None, report_to=[], use_cpu=True, bf16=False)
    before = peak()
    begin = time.perf_counter()
    loaded = load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "cache"))
    trainer = SFTTrainer(model, args=settings, train_dataset=loaded, processing_class=tokenizer)
    seconds = time.perf_counter() - begin
    tokens = sum(len(row) for row in trainer.train_dataset["input_ids"])
    return {"total": seconds, "peak": peak(), "before": before, "tokens": tokens}


def measure(who: str, file: Path, model_path: str) -> dict[str, float]:
    """Run one of the two in a process of its own, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **ONE_CORE, "FRAMEWORK_CACHE": folder}
        words = [sys.executable, __file__, "--child", who, str(file), folder, model_path]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{who} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def child(who: str, file: str, folder: str, model_path: str) -> None:
    """Measure in this process and print the numbers."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    OUT.print(json.dumps({"ours": ours, "trl": trl}[who](Path(file), Path(folder), model_path)))


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--trl-rows", type=int, nargs="*", default=None, help="sizes for TRL; default: the same")
    asked = parser.parse_args()
    from framework_plugins.quickstart.config import SmolLM2Config
    from framework_plugins.quickstart.smollm2 import SmolLM2

    model_path = str(SmolLM2(SmolLM2Config()).fetch(weights=False).folder)
    OUT.print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one core;", end=" ")
    OUT.print(", ".join(f"{name} {version(name)}" for name in ("trl", "transformers", "tokenizers", "datasets")))
    heads = ["rows", "prepare rows/s", "TRL rows/s", "ratio", "whole stage rows/s", "ratio"]
    heads += ["encode s", "prepare s", "split s", "audit s", "again s", "MiB", "TRL MiB"]
    OUT.print("| " + " | ".join(heads) + " |")
    OUT.print("|" + "---|" * len(heads))
    for count in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "rows.jsonl")
            write(file, count)
            mine = measure("ours", file, model_path)
            with_trl = asked.trl_rows is None or count in asked.trl_rows
            theirs = measure("trl", file, model_path) if with_trl else None
        OUT.print("| " + " | ".join(cells(count, mine, theirs)) + " |")
        if theirs and theirs["tokens"] != mine["tokens"]:
            OUT.print(f"tokens differ: ours {mine['tokens']:,.0f}, TRL {theirs['tokens']:,.0f}")


def cells(count: int, mine: dict[str, float], theirs: dict[str, float] | None) -> list[str]:
    """Write the numbers of one size."""
    whole = mine["store"] + mine["split"] + mine["audit"]
    ratios = [f"{theirs['total'] / seconds:.1f}" if theirs else "-" for seconds in (mine["store"], whole)]
    return [
        f"{count:,}",
        f"{count / mine['store']:,.0f}",
        f"{count / theirs['total']:,.0f}" if theirs else "-",
        ratios[0],
        f"{count / whole:,.0f}",
        ratios[1],
        *(f"{mine[name]:.1f}" for name in ("encode", "store", "split", "audit", "again")),
        f"{mine['peak']:.0f}",
        f"{theirs['peak']:.0f}" if theirs else "-",
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
