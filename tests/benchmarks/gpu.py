"""Training on one GPU: tokens per second, peak memory and loss, beside TRL and Unsloth, on the same rows.

    make bench-gpu                                                    all parts, one after the other
    .venv-bench/gpu/bin/python -m tests.benchmarks.gpu --list
    .venv-bench/gpu/bin/python -m tests.benchmarks.gpu --part llama1b-nf4-12-alpaca
    .venv/bin/python -m tests.benchmarks.gpu --dry --part llama1b-nf4-12-alpaca      tiny shapes, on the CPU

A part is a model, a quantization, a limit of memory and a kind of rows; it takes at most eight minutes, and says which
contenders found no time. Weights are random, of the shapes of Llama 3.2 1B and Llama 3.1 8B, and the tokenizer is made
here: nothing is downloaded. Each training is a process of its own, whose allocator gets no more than the limit. Parts
are merged into one JSON file; after each, the table of all is written into docs/explanation/performance.md, together
with which goals are reached. A dry run trains for a few steps and writes into no page.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from framework.util import gpus
from framework.util.host import GIB

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
PAGE = ROOT / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- bench-gpu -->", "<!-- /bench-gpu -->"
"""Between them is the table in the page, or the sentence that there is none."""
OUT = Console(soft_wrap=True, highlight=False)
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "UNSLOTH_DISABLE_STATISTICS": "1"}
SECONDS = 480
"""What a part may take."""
LEAST_SECONDS = 45
"""What has to be left of it for one more training: a start takes half a minute."""
BATCH = 8
"""Rows of an optimizer step, of all contenders but one that packs them into sequences of `PACKED` tokens."""
PACKED = 2048
HELD_OUT = 8
LEARNING_RATE, WARMUP, SEED, RANK = 2e-4, 2, 1, 16
SETTLED = 2
"""Steps that are not counted: kernels are compiled, and memory is found to be short, in the first ones."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LLAMA = {
    "llama1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True, "vocab_size": 128_256,
    },
    "llama8b": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": False, "vocab_size": 128_256,
    },
}  # fmt: skip
"""Llama 3.2 1B and Llama 3.1 8B."""
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512}  # fmt: skip
SIZES = (("llama1b", "nf4", 12), ("llama1b", "bf16", 12), ("llama8b", "nf4", 12), ("llama8b", "nf4", 24),
         ("llama8b", "bf16", 24))  # fmt: skip
"""8B in bf16 has 15 GiB of weights; 1B leaves most of 24 GiB empty."""
ROWS = {"alpaca": 24, "long": 6, "shared": 12}
"""Steps on each kind: rows as long as Alpaca's, of 2,048 tokens, and of 90 behind a prompt of 500 that all share."""
TRL, TRL_PACKED, UNSLOTH, OURS, OURS_UNSLOTH = (
    "TRL", "TRL, packed", "Unsloth", "framework, trainer=hf", "framework, trainer=unsloth",
)  # fmt: skip


class MissingError(Exception):
    """Why a contender, or a part, has no result."""


@dataclass(frozen=True)
class BenchPart:
    """One table's worth of trainings.

    Attributes:
        shape: of the model.
        quantization: nf4 or bf16.
        limit: GiB that each training may have.
        rows: which kind.
        steps: optimizer steps.
        dry: whether the shape is tiny, and the CPU trains.
    """

    shape: str
    quantization: str
    limit: int
    rows: str
    steps: int
    dry: bool = False

    @property
    def name(self) -> str:
        """How it is asked for."""
        return f"{self.shape}-{self.quantization}-{self.limit}-{self.rows}"


@dataclass
class Measured:
    """What one contender came to: tokens of the rows a second, peaks of the allocator and the plan's band in bytes."""

    tokens_per_second: float
    allocated: int
    reserved: int
    steps: int
    seconds: float
    loss: float = math.nan
    band: list[int] = field(default_factory=list)
    notes: str = ""


def parts() -> dict[str, BenchPart]:
    """Return all parts by name, the quickest first."""
    made = [BenchPart(*size, rows, steps) for size in SIZES for rows, steps in ROWS.items()]
    return {part.name: part for part in made}


def conversations(kind: str, count: int, *, dry: bool) -> list[dict[str, Any]]:
    """Return rows of one kind; a letter behind a space is a token."""
    draw = random.Random(f"{kind}-{SEED}")  # noqa: S311 - which letters, not a secret
    scale = 0.05 if dry else 1.0

    def words(tokens: float) -> str:
        return " ".join(draw.choice(LETTERS) for _ in range(max(3, round(scale * tokens))))

    def alpaca(middle: float, spread: float, most: int) -> float:
        return min(most, draw.lognormvariate(math.log(middle), spread))

    system = [{"role": "system", "content": words(500)}]
    rows = []
    for _ in range(count):
        if kind == "long":
            before, asked, answered = [], words(1000), words(1000)
        elif kind == "shared":
            before, asked, answered = system, words(30), words(60)
        else:
            before, asked, answered = [], words(alpaca(25, 0.6, 200)), words(alpaca(60, 0.9, 600))
        talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        rows.append({"messages": [*before, *talk]})
    return rows


def base(shape: str, folder: Path, *, dry: bool) -> Path:
    """Write random weights in bf16, a layer or two at a time, and a tokenizer; once for a shape."""
    target = folder / (f"{shape}-dry" if dry else shape)
    if (target / "done").exists():
        return target
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.support.tiny import tiny_llama

    tiny_llama(target)
    tokens = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "model.safetensors").unlink()
    special = {name: tokens[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    shapes: Mapping[str, Any] = TINY if dry else LLAMA[shape]
    config = LlamaConfig(
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0}, max_position_embeddings=8192,
        dtype=torch.bfloat16, architectures=["LlamaForCausalLM"], **special, **shapes,
    )  # fmt: skip
    with torch.device("meta"):
        named = dict(LlamaForCausalLM(config).named_parameters())
    config.save_pretrained(target)
    generator = torch.Generator().manual_seed(SEED)
    where: dict[str, str] = {}
    shard: dict[str, Any] = {}
    for number, (name, weight) in enumerate(named.items(), start=1):
        made = (
            torch.ones(weight.shape)
            if weight.dim() == 1
            else torch.empty(weight.shape).normal_(std=0.02, generator=generator)
        )
        shard[name] = made.to(torch.bfloat16)
        if sum(each.nbytes for each in shard.values()) > 2 * GIB or number == len(named):
            file = f"model-{len(set(where.values())):05}.safetensors"
            save_file(shard, target / file, metadata={"format": "pt"})
            where |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": where}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (target / "done").touch()
    return target


def prepare(part: BenchPart, model: Path, folder: Path) -> list[str]:
    """Write rows, and their token ids and labels as framework makes them; return the words that train on them."""
    from framework.config.check import check
    from framework.config.compose import compose
    from framework.data.stage import load_data
    from framework.plan.make import make_plan

    rows = conversations(part.rows, part.steps * BATCH + HELD_OUT, dry=part.dry)
    for name, some in (("train", rows[:-HELD_OUT]), ("held", rows[-HELD_OUT:])):
        _write(folder / f"{name}.jsonl", some)
    words = [
        "model=local", f"model.path={model}", "data=local_file", f"data.path={folder}/train.jsonl",
        "audit=[]", "evaluator=[]", "exporter=[]", "stages=[data,train,report]", "objective=train_loss",
        f"adapter.r={RANK}", f"adapter.lora_alpha={2 * RANK}", f"trainer.learning_rate={LEARNING_RATE}",
        f"trainer.warmup_steps={WARMUP}", f"seed={SEED}", "trainer.max_seq_length=4096",
        "trainer.dtype=bf16", "trainer.num_train_epochs=1",
        f"quantization={'nf4' if part.quantization == 'nf4' else 'none'}",
    ]  # fmt: skip
    # Rows are encoded on the CPU: this process is to have nothing on the GPU.
    config = compose([*words, f"data.validation_path={folder}/held.jsonl", "logger=[]", "trainer.device=cpu"])
    check(config)
    plan = make_plan(config, run_dir=folder / "unused")
    with plan.trainer.create().open(plan) as opened:
        data = load_data(plan, opened)
        for name, encoded in (("rows", data.train), ("held_rows", data.validation)):
            _write(folder / f"{name}.jsonl", [{"input_ids": row.input_ids, "labels": row.labels} for row in encoded])
    return [*words, "data.validation_split=0"]


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Bench:
    """One part while it runs.

    Attributes:
        part: which.
        model: the folder of its base.
        folder: where all is written.
        words: that train with framework.
        tokens: of all rows.
        pythons: the interpreters with TRL and framework, and with Unsloth; the second may be None.
        memory: bytes of the card; 0 on a CPU.
        until: when the part has to be over, by `time.monotonic`.
    """

    part: BenchPart
    model: Path
    folder: Path
    words: list[str]
    tokens: int
    pythons: tuple[Path, Path | None]
    memory: int
    until: float

    def run(self, command: Sequence[str | Path], log: Path, *, expand: bool) -> None:
        """Run a training; what is left of it when its time is up is killed.

        Raises:
            MissingError: it failed, with the last line that it printed, or there was no time.
        """
        left = self.until - time.monotonic()
        if left < LEAST_SECONDS:
            raise MissingError("no time was left in this part")
        env = os.environ | OFFLINE
        if self.memory:
            conf = [f"per_process_memory_fraction:{min(1.0, self.part.limit * GIB / self.memory):.4f}"]
            env["PYTORCH_ALLOC_CONF"] = ",".join([*conf, *(["expandable_segments:True"] if expand else [])])
        else:
            env["CUDA_VISIBLE_DEVICES"] = ""
        with log.open("w", encoding="utf-8") as stream:
            words = [str(word) for word in command]
            process = subprocess.Popen(
                words, stdout=stream, stderr=subprocess.STDOUT, env=env, cwd=self.folder, start_new_session=True
            )
            try:
                code = process.wait(left)
            except subprocess.TimeoutExpired as error:
                raise MissingError(f"it was not done after {left:.0f} s, when the part's time was over") from error
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"exit code {code}"]
            raise MissingError(lines[-1][:300])

    def ours(self, trainer: str, python: Path, rows: tuple[int, int], *more: str) -> tuple[Measured, Path]:
        """Train with framework."""
        target = Path(tempfile.mkdtemp(dir=self.folder))
        where = "trainer.device=cpu" if self.part.dry else "trainer.device=cuda"
        self.run(
            [
                python, "-m", "framework", *self.words, where, f"trainer={trainer}", "logger=[clock]",
                f"plugins=[{PEERS / 'clock_logger.py'}]", f"trainer.per_device_train_batch_size={rows[0]}",
                f"trainer.gradient_accumulation_steps={rows[1]}", f"run_dir={target}/run", *more,
            ],
            target / "log",
            expand=True,
        )  # fmt: skip
        result, trained, forecast = (_read(target / "run" / f"{name}.json") for name in ("result", "train", "forecast"))
        memory = forecast["memory"] or {"low": 0, "high": 0}
        reserved = result["gpu_reserved"]
        measured = self.measured(result["seconds"], trained["peak_memory_bytes"], reserved)
        facts = _read(target / "run" / "report.json")["hardware"]
        notes = "; ".join(f"{name} {facts[name]}" for name in ("packing", "gradient checkpointing", "out of memory")
                          if name in facts)  # fmt: skip
        return replace(measured, band=[memory["low"], memory["high"]], notes=notes), target / "run" / "checkpoint"

    def peer(self, kind: str, python: Path, rows: tuple[int, int], **settings: Any) -> tuple[Measured, Path]:
        """Train with a peer's script."""
        from clock import Task  # type: ignore[import-not-found]

        target = Path(tempfile.mkdtemp(dir=self.folder))
        four_bits = self.part.quantization == "nf4"
        task = Task(
            str(self.model), str(self.folder / "rows.jsonl"), str(target), self.part.steps, *rows, LEARNING_RATE,
            WARMUP, SEED, four_bits, checkpointing=True, **settings,
        )  # fmt: skip
        (target / "task.json").write_text(json.dumps(asdict(task)), encoding="utf-8")
        self.run([python, PEERS / f"{kind}_peer.py", target / "task.json"], target / "log", expand=False)
        result = _read(target / "result.json")
        notes = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
        measured = self.measured(result["seconds"], result["gpu_bytes"], result["gpu_reserved"])
        return replace(measured, notes=notes), target / "adapter"

    def measured(self, seconds: Sequence[float], allocated: int, reserved: int) -> Measured:
        """Return a result; every step is taken to have as many tokens, which order and packing nearly give it."""
        settled = min(SETTLED, len(seconds) - 1)
        counted = seconds[settled:]
        rate = self.tokens / len(seconds) * len(counted) / sum(counted)
        return Measured(rate, allocated, reserved, len(seconds), sum(seconds))

    def contenders(self) -> Iterator[tuple[str, Callable[[], tuple[Measured, Path]]]]:
        """Give each contender's name with what trains it and returns its result and its adapter."""
        python, unsloth = self.pythons
        limit = [] if self.part.dry else [f"plan.gpu={self.part.limit}GiB", "plan.apply=true"]
        yield OURS, lambda: self.ours("hf", python, (BATCH, 1), *limit)
        yield TRL, lambda: self.peer("trl", python, (2, BATCH // 2))
        yield TRL_PACKED, self.packed
        if unsloth is None:
            yield UNSLOTH, nowhere
            yield OURS_UNSLOTH, nowhere
            return
        yield UNSLOTH, lambda: self.peer("unsloth", unsloth, (2, BATCH // 2))
        yield OURS_UNSLOTH, lambda: self.ours("unsloth", unsloth, (2, BATCH // 2), *limit[:1])

    def packed(self) -> tuple[Measured, Path]:
        """Train with TRL's packing, by the first of the kernels that are installed and run."""
        steps = max(1, round(self.tokens / PACKED / self.part.steps))
        flash = ["flash_attention_2"] if find_spec("flash_attn") else []
        known = ["sdpa"] if self.part.dry else [*flash, "flex_attention", "sdpa"]
        liger = not self.part.dry and find_spec("liger_kernel") is not None
        for attention in known:
            try:
                settings = {"packing": PACKED, "attention": attention, "liger": liger}
                return self.peer("trl", self.pythons[0], (1, steps), **settings)
            except MissingError as error:
                missing = MissingError(f"with attention {attention}: {error}")
        raise missing

    def losses(self, adapters: Mapping[str, Path]) -> dict[str, float]:
        """Return the losses of held-out rows, of all adapters on one base."""
        if not adapters:
            return {}
        log = self.folder / "held_out.log"
        four_bits = str(int(self.part.quantization == "nf4"))
        rows = self.folder / "held_rows.jsonl"
        command: list[str | Path] = [self.pythons[0], PEERS / "held_out.py", self.model, rows, four_bits]
        unlimited = replace(self, part=replace(self.part, limit=1 << 20), until=max(self.until, time.monotonic() + 90))
        unlimited.run([*command, *adapters.values()], log, expand=False)
        return dict(zip(adapters, json.loads(log.read_text(encoding="utf-8").splitlines()[-1]), strict=True))


def nowhere() -> tuple[Measured, Path]:
    """Train with nothing.

    Raises:
        MissingError: always.
    """
    raise MissingError("there is no environment with it, see --unsloth")


def measure(part: BenchPart, work: Path, pythons: tuple[Path, Path | None], seconds: float) -> dict[str, Any]:
    """Run one part and return its record.

    Raises:
        MissingError: the card has less memory than the part is for.
    """
    card = None if part.dry else gpus.here()
    if not part.dry and card is None:
        raise MissingError("no GPU is here; --dry runs on the CPU")
    if card and card.total < 0.93 * part.limit * GIB:
        raise MissingError(f"{card.name} has {card.total / GIB:.1f} GiB")
    model = base(part.shape, work, dry=part.dry)
    until = time.monotonic() + seconds
    made: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    adapters: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        words = prepare(part, model, folder)
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        tokens = sum(len(row["input_ids"]) for row in rows)
        bench = Bench(part, model, folder, words, tokens, pythons, card.total if card else 0, until)
        for who, train in bench.contenders():
            try:
                made[who], adapters[who] = train()
                OUT.print(f"  {who}: {made[who].tokens_per_second:,.0f} tokens/s")
            except MissingError as error:
                missing[who] = str(error)
                OUT.print(f"  {who}: left out, {error}")
        try:
            for who, loss in bench.losses(adapters).items():
                made[who].loss = loss
        except MissingError as error:
            missing["loss of held-out rows"] = str(error)
    return {
        "card": card.name if card else "CPU",
        "ran": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        "tokens": tokens,
        "rows": len(rows),
        "steps": part.steps,
        "versions": versions(pythons[0]),
        "results": {who: asdict(measured) for who, measured in made.items()},
        "missing": missing,
    }


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the libraries in the first environment."""
    code = (
        "import importlib.metadata as m, json\n"
        "names = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "known = ('torch', 'transformers', 'trl', 'peft', 'bitsandbytes', 'liger-kernel', 'flash-attn', 'triton')\n"
        "print(json.dumps({name: names[name] for name in known if name in names}))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def merge(file: Path, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Put the record of a part into the file of all, and return all."""
    known: dict[str, Any] = _read(file) if file.exists() else {}
    known[name] = record
    file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return known


def goals(record: Mapping[str, Any], name: str) -> list[str]:
    """Say which goals a part reaches, and which not."""
    results = record["results"]
    rates = {who: each["tokens_per_second"] for who, each in results.items()}
    told = []

    def tell(goal: str, reached: float, least: float) -> None:
        told.append(f"{goal}: {'reached' if reached >= least else 'missed'}, {reached:.2f}")

    ours = max((rates[who] for who in (OURS, OURS_UNSLOTH) if who in rates), default=None)
    trl = max((rates[who] for who in (TRL, TRL_PACKED) if who in rates), default=None)
    peers = max((rates[who] for who in (TRL, TRL_PACKED, UNSLOTH) if who in rates), default=None)
    if ours and peers and name.endswith("-shared"):
        tell("3 times the best peer", ours / peers, 3)
    elif ours and trl:
        tell("at least the best TRL", ours / trl, 1)
    if UNSLOTH in rates and OURS_UNSLOTH in rates:
        tell("trainer=unsloth at least 0.98 times bare Unsloth", rates[OURS_UNSLOTH] / rates[UNSLOTH], 0.98)
    for who in (OURS, OURS_UNSLOTH):
        if who in results and results[who]["reserved"] and len(results[who]["band"]) == 2:
            low, high = results[who]["band"]
            inside = low <= results[who]["reserved"] <= high
            told.append(f"{who}: peak {'inside' if inside else 'outside'} the plan's band")
    return told


def table(known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of all parts in Markdown, with what is missing and which goals are reached."""
    lines = []
    cards = sorted({f"{record['card']}, {', '.join(' '.join(pair) for pair in record['versions'].items())}"
                    for record in known.values()})  # fmt: skip
    lines += [
        *cards,
        "",
        "| part | who | tokens/s | peak GiB | plan's band | loss | how |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, record in known.items():
        for who, each in record["results"].items():
            band = "-".join(f"{size / GIB:.1f}" for size in each["band"])
            loss = "" if each["loss"] is None or math.isnan(each["loss"]) else f"{each['loss']:.3f}"
            peak = f"{each['reserved'] / GIB:.1f}" if each["reserved"] else ""
            numbers = f"{each['tokens_per_second']:,.0f} | {peak} | {band} | {loss}"
            lines.append(f"| {name} | {who} | {numbers} | {each['notes'].replace('|', '/')} |")
    for name, record in known.items():
        lines += ["", f"`{name}`, {record['rows']:,} rows, {record['tokens']:,} tokens, {record['steps']} steps:", ""]
        lines += [f"- {goal}" for goal in goals(record, name)]
        lines += [f"- {who}: left out, {why}" for who, why in record["missing"].items()]
    left = [name for name in parts() if name not in known]
    lines += ["", f"Parts that did not run: {', '.join(left) or 'none'}."]
    return "\n".join(lines)


def write_page(text: str, page: Path = PAGE) -> None:
    """Put a table between the two marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--part", nargs="+", choices=list(parts()), metavar="NAME", default=list(parts()))
    parser.add_argument("--weights", choices=list(LLAMA), help="only write these random weights, which takes minutes")
    parser.add_argument("--dry", action="store_true", help="tiny shapes on the CPU, a few steps, no page")
    parser.add_argument("--write", action="store_true", help="only write the table of the parts that ran into the page")
    parser.add_argument("--results", type=Path, help="the JSON of all parts; default: results.json in the folder")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench-gpu", help="where weights are kept")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="with framework and TRL")
    parser.add_argument("--unsloth", type=Path, help="a Python with framework and Unsloth")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each part")
    arguments = parser.parse_args()
    if arguments.list:
        OUT.print("\n".join(parts()))
        return
    work = arguments.folder
    work.mkdir(parents=True, exist_ok=True)
    if arguments.weights:
        base(arguments.weights, work, dry=arguments.dry)
        return
    file = arguments.results or work / ("dry.json" if arguments.dry else "results.json")
    known: dict[str, Any] = _read(file) if file.exists() else {}
    if arguments.write:
        write_page(table(known))
        return
    for name in arguments.part:
        part = replace(parts()[name], dry=arguments.dry, steps=2 if arguments.dry else parts()[name].steps)
        OUT.print(name)
        try:
            record = measure(part, work, (arguments.python, arguments.unsloth), arguments.seconds)
        except MissingError as error:
            OUT.print(f"  left out: {error}")
            continue
        known = merge(file, name, record)
        if not arguments.dry:
            write_page(table(known))
    if known:
        OUT.print(table(known))


if __name__ == "__main__":
    main()
