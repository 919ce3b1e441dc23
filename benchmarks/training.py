"""Examples per second, memory and start-up of training, beside TRL, Unsloth and LLaMA-Factory: the same rows for all.

    make bench                                              every peer in a virtual environment of its own
    .venv/bin/python -m benchmarks.training --works quickstart --repeats 1

Each training is a process of its own, with nothing beside it; the peers take turns, so that a slow minute of the
machine falls on all. They get the token ids and labels that `framework` trains on. The final validation loss of every
adapter is taken by plain peft in fp32. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import OUT, command_line, spread, table_head, table_row

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = ROOT / "plugins" / "framework_plugins" / "gpu" / "peers"
OTHERS = HERE / "peers"
"""What bench-gpu does without."""
ENVIRONMENTS = ROOT / ".venv-bench"
sys.path.insert(0, str(PEERS))
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "UNSLOTH_DISABLE_STATISTICS": "1"}
BATCH = 8
ORDERS = 300
"""Rows of the quickstart's data, as many as the tables were made with."""
HELD_OUT = 40
LEARNING_RATE, WARMUP, SEED = 5e-4, 3, 1
BARE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""ChatML without the system prompt that SmolLM2's own template puts before every conversation."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Rows to train on; `bare` leaves the model's default system prompt out."""

    rows: list[Row]
    steps: int
    bare: bool = False


@dataclass
class Measured:
    """What the repeats of one contender came to."""

    seconds: list[list[float]] = field(default_factory=list)
    setup: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    tokens: set[int] = field(default_factory=set)
    computed: int = 0

    @property
    def rates(self) -> list[float]:
        """Examples per second of each repeat, over all its steps."""
        return [BATCH * len(some) / sum(some) for some in self.seconds]


def orders() -> list[Row]:
    """Return training rows of the quickstart as conversations."""
    import framework_plugins.quickstart

    file = Path(framework_plugins.quickstart.__path__[0], "data", "orders_train.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:ORDERS]]
    asked = [(f"{row['instruction']}\n\n{row['input']}", row["output"]) for row in rows]
    return [_talk(ask, answer) for ask, answer in asked]


def manual() -> list[Row]:
    """Return the same rows below a system prompt of about 500 tokens: a manual for whoever fills in orders."""
    cities = ("Perth", "Lyon", "Oslo", "Quito", "Kyoto", "Turin", "Cork", "Graz", "Porto", "Leeds", "Bergen", "Split")
    rules = [
        f"Rule {number}: an order for {city} leaves the warehouse on day {number % 5 + 1} of the week; a customer "
        "there is written with first and last name, "
        "and a quantity in words becomes a number."  # word-ok: the task itself
        for number, city in enumerate(cities, start=1)
    ]
    system = {"role": "system", "content": "You fill in orders as JSON.\n" + "\n".join(rules)}
    return [{"messages": [system, *row["messages"]]} for row in orders()]


def chats() -> list[Row]:
    """Return exchanges of the chatterbot-corpus, one to six of them in a row, so that lengths vary."""
    spec = find_spec("chatterbot_corpus")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install chatterbot-corpus")
    folder = Path(spec.submodule_search_locations[0], "data", "english")
    turns = (yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"] for file in sorted(folder.glob("*.yml")))
    talks = ([str(text).strip() for text in talk] for part in turns for talk in part)
    pairs = list(dict.fromkeys(pair for talk in talks for pair in itertools.pairwise(talk) if all(pair)))
    draw = random.Random(SEED)  # noqa: S311 - which rows, not a secret
    draw.shuffle(pairs)
    left = iter(pairs)
    rows = []
    while some := list(itertools.islice(left, draw.randint(1, 6))):
        rows.append(_talk(" ".join(ask for ask, _ in some), " ".join(answer for _, answer in some)))
    return rows


def _talk(ask: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}


WORKS: dict[str, Callable[[], Work]] = {
    "quickstart": lambda: Work(orders(), 10),
    "long_prompt": lambda: Work(manual(), 5),
    "no_prefix": lambda: Work(chats(), 10, bare=True),
}


def prepare(work: Work, folder: Path, model_folder: str | None) -> tuple[list[str], str]:
    """Write the files of a work; return the overrides for `framework`, and the folder of the model."""
    from framework.config.check import check
    from framework.config.compose import compose
    from framework.data.stage import load_data
    from framework.plan.make import make_plan

    train = work.rows[: work.steps * BATCH]
    held = work.rows[-HELD_OUT:]
    for name, rows in (("train", train), ("held", held)):
        _write(folder / f"{name}.jsonl", rows)
    words = [
        "+experiment=quickstart", "data=local_file", f"data.path={folder}/train.jsonl",
        f"data.validation_path={folder}/held.jsonl", f"trainer.warmup_steps={WARMUP}", f"seed={SEED}",
        f"trainer.learning_rate={LEARNING_RATE}", "trainer.max_seq_length=2048", "evaluator=[]", "exporter=[]",
        "stages=[data,train]",
    ]  # fmt: skip
    if model_folder:
        words += ["model=local", f"model.path={model_folder}"]
    if work.bare:
        (folder / "bare.jinja").write_text(BARE, encoding="utf-8")
        words.append(f"model.chat_template={folder}/bare.jinja")
    config = compose([*words, "logger=[]"])
    check(config)
    plan = make_plan(config, run_dir=folder / "unused")
    with plan.trainer.create().open(plan) as model:
        data = load_data(plan, model)
        for name, encoded in (("rows", data.train), ("held_rows", data.validation)):
            made = [{"input_ids": row.input_ids, "labels": row.labels} for row in encoded]
            _write(folder / f"{name}.jsonl", made)
        return words, str(model.place.folder)


def _write(file: Path, rows: Sequence[Row]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(command: Sequence[str], log: Path) -> tuple[float, float]:
    """Run a command; return when it started and its peak memory in MiB.

    Raises:
        RuntimeError: it failed; the message holds the end of what it printed.
    """
    result = log.with_name("measured.json")
    paths = os.pathsep.join([str(PEERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w", encoding="utf-8") as stream:
        words = [sys.executable, str(OTHERS / "measured.py"), str(result), *command]
        done = subprocess.run(
            words, stdout=stream, stderr=stream, env=os.environ | OFFLINE | {"PYTHONPATH": paths}, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {log.read_text(encoding='utf-8')[-1500:]}")
    measured = json.loads(result.read_text(encoding="utf-8"))
    return measured["start"], measured["mebibytes"]


@dataclass(frozen=True)
class Contender:
    """Who trains.

    Attributes:
        name: in the table.
        kind: `framework`, or the peer whose script trains.
        python: the interpreter of its environment.
        batch: rows in a pass.
        words: overrides of its own, for `framework`.
    """

    name: str
    kind: str
    python: Path = Path(sys.executable)
    batch: int = BATCH
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """What one training came to; the memory is that of the process in MiB, and the GPU's in bytes."""

    seconds: list[float]
    tokens: int
    setup: float
    memory: float
    gpu_bytes: int
    adapter: Path
    computed: int = 0


def contenders(arguments: argparse.Namespace) -> Iterator[Contender]:
    """Give each contender that is installed."""
    yield Contender("framework", "framework")
    for kind in arguments.peers:
        python = Path(ENVIRONMENTS, kind, "bin", "python")
        if not python.is_file():
            OUT.print(f"{kind}: left out, there is no {python} (make bench makes it)")
            continue
        yield Contender(kind, kind, python)
    python = Path(ENVIRONMENTS, "trl", "bin", "python")
    if arguments.halves:
        yield Contender("framework, 4 x 2", "framework", batch=BATCH // 2)
        if python.is_file():
            yield Contender("trl, 4 x 2", "trl", python, BATCH // 2)


def once(contender: Contender, work: Work, folder: Path, words: Sequence[str], model: str) -> Training:
    """Train once, in a process of its own."""
    from clock import Task  # type: ignore[import-not-found]

    python, batch = str(contender.python), contender.batch
    target = Path(tempfile.mkdtemp(dir=folder))
    shape = (batch, BATCH // batch)
    if contender.kind == "framework":
        command = [
            python, "-m", "framework", *words, *contender.words, f"plugins=[{PEERS / 'clock_logger.py'}]",
            "logger=[clock]", f"trainer.per_device_train_batch_size={shape[0]}",
            f"trainer.gradient_accumulation_steps={shape[1]}", f"run_dir={target}/run",
        ]  # fmt: skip
        start, memory = run(command, target / "log")
        result, train = _read(target / "run" / "result.json"), _read(target / "run" / "train.json")
        adapter, computed, gpu_bytes = (
            target / "run" / "checkpoint",
            train["computed_tokens"],
            train["peak_memory_bytes"],
        )
    else:
        task = Task(model, str(folder / "rows.jsonl"), str(target), work.steps, *shape, LEARNING_RATE, WARMUP, SEED)
        (target / "task.json").write_text(json.dumps(asdict(task)), encoding="utf-8")
        script = next(file for place in (PEERS, OTHERS) if (file := place / f"{contender.kind}_peer.py").exists())
        start, memory = run([python, str(script), str(target / "task.json")], target / "log")
        result = _read(target / "result.json")
        adapter, computed, gpu_bytes = target / "adapter", 0, result["gpu_bytes"]
    setup = result["first_step"] - start
    return Training(result["seconds"], result["tokens"], setup, memory, gpu_bytes, adapter, computed)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def held_out_loss(adapter: Path, rows: Path, model: str) -> float:
    """Return the mean loss of the held-out rows in fp32 by plain peft."""
    import torch
    from peft import PeftModel
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter)
    total, count = 0.0, 0
    for line in rows.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        with torch.inference_mode():
            logits = tuned(torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += float(functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    return total / count


def gemm_peak() -> float:
    """Return the speed of square bf16 products on this machine in GFLOP/s, the best of three sizes."""
    import torch

    best = 0.0
    for size in (1024, 2048, 3072):
        left, right = (torch.ones(size, size, dtype=torch.bfloat16) for _ in range(2))
        left @ right
        for _ in range(6):
            start = time.perf_counter()
            left @ right
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def step_flops(model: str, tokens: float, learned: float, rank: int = 16) -> float:
    """Return the multiplications and additions of a LoRA step over this number of computed tokens, attention left out.

    A linear layer multiplies each token forward, and its gradient backward: 4 a weight. LoRA's weights get a gradient
    of their own besides: 6 a weight. The head is at the learned tokens only, forward and backward.
    """
    config = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kv = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    shapes = [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), *[(hidden, inner)] * 2, (inner, hidden)]
    weights = layers * sum(one * two for one, two in shapes)
    low_rank = layers * rank * sum(one + two for one, two in shapes)
    return float(tokens * (4 * weights + 6 * low_rank) + learned * 4 * hidden * config["vocab_size"])


def measure(name: str, work: Work, arguments: argparse.Namespace, folder: Path) -> None:
    """Measure one work and print its table."""
    words, model = prepare(work, folder, arguments.model)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    lengths = [len(tokens["input_ids"]) for tokens in rows]
    learned = sum(label != -100 for tokens in rows for label in tokens["labels"][1:])
    taking_part = list(contenders(arguments))
    made = {contender.name: Measured() for contender in taking_part}
    adapters: dict[str, list[Path]] = {contender.name: [] for contender in taking_part}
    peaks = []
    for _ in range(arguments.repeats):
        peaks.append(gemm_peak())
        for contender in taking_part:
            training = once(contender, work, folder, words, model)
            mine = made[contender.name]
            mine.seconds.append(training.seconds)
            mine.setup.append(training.setup)
            mine.memory.append(training.memory)
            mine.tokens.add(training.tokens)
            mine.computed = training.computed
            adapters[contender.name].append(training.adapter)
            OUT.print(f"  {contender.name}: {[round(part, 2) for part in training.seconds]}")
    for which, some in adapters.items():
        made[which].loss = [held_out_loss(some[0], folder / "held_rows.jsonl", model)]  # one seed, one adapter
    OUT.print(
        f"\n{name}: {work.steps} steps of {BATCH} rows, {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in "
        f"all, {learned:,} learned; {arguments.repeats} repeats, median (min-max)\n"
    )
    OUT.print(
        table_head("who", "examples/s", "times TRL", "peak MiB", "s to the first step", "validation loss", "tokens")
    )
    base = statistics.median(made["trl"].rates) if "trl" in made else None
    for who, mine in made.items():
        times = f"{statistics.median(mine.rates) / base:.2f}" if base else ""
        cells = [spread(mine.rates, 2), times, spread(mine.memory), spread(mine.setup, 1), spread(mine.loss, 4)]
        OUT.print(table_row(who, *cells, ", ".join(f"{count:,}" for count in sorted(mine.tokens))))
    ours = made["framework"]
    seconds = statistics.median(sum(some) for some in ours.seconds)
    speed = step_flops(model, ours.computed, learned) / seconds / 1e9
    peak = statistics.median(peaks)
    OUT.print(
        f"\nframework computed {ours.computed:,} of {sum(lengths):,} tokens; {speed:.0f} of {peak:.0f} GFLOP/s of the "
        f"bf16 GEMM peak, {speed / peak:.0%}, attention not counted\n"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = command_line(__doc__)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=[*WORKS])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["trl", "unsloth", "llamafactory"])
    parser.add_argument("--model", help="folder of another model than the quickstart's")
    parser.add_argument("--halves", action="store_true", help="framework and TRL with 4 x 2 rows a step, too")
    arguments = parser.parse_args()
    names = ("torch", "transformers", "trl", "peft")
    OUT.print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    OUT.print(", ".join(f"{name} {version(name)}" for name in names))
    for name in arguments.works:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            measure(name, WORKS[name](), arguments, Path(folder))


if __name__ == "__main__":
    main()
