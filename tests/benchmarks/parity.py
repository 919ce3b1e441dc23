"""Which wrong exports the parity gate refuses: SmolLM2 with an adapter of the quickstart, changed on purpose.

    python -m framework run_dir=RUN stages=[data,train]                 an adapter of the quickstart
    nice -n 19 python -m tests.benchmarks.parity RUN                    prints the tables of docs/explanation/parity.md
    nice -n 19 python -m tests.benchmarks.parity RUN --only rope        the rows whose name has that in it
    nice -n 19 python -m tests.benchmarks.parity RUN --files q4_k_m     real files of the adapter, and of half of it

The trained weights are merged in fp32 in memory, one thing is wrong with them, and the gate's own functions say whether
an export would pass: in fp32, which stands for f16 and f32; rounded to bf16, as a folder in bf16 holds them; and by the
bounds of quantized files, without the noise of a quantization. An export without an error is the first row. The long
row is read only for errors of positions (`rope`), since the short ones take a third of the time and see the others.
One core takes about ten minutes, `--files` one minute for each file.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework import testing
from framework.api.records import Message, Prompt
from framework_plugins.exports.chat_template import put
from framework_plugins.exports.config import Dtype, ParityConfig
from framework_plugins.exports.gguf.convert import sentencepiece
from framework_plugins.exports.gguf.vocabulary import Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantize import quantize
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity.agreement import Agreement, Logits, agree, widest_tie
from framework_plugins.exports.parity.bounds import exact, within
from framework_plugins.exports.parity.change_retained import of_answer, survival
from framework_plugins.exports.parity.check_rows import GENERAL, LONGEST, CheckRow
from framework_plugins.exports.parity.gate import TIE
from framework_plugins.exports.parity.long_row import END, long_row
from tests.support.ggufs import converted
from tests.support.speaks import Speaks

OUT = Console(soft_wrap=True, highlight=False)
CONFIG = ParityConfig()
PROMPTS, NEW, LONG = 8, 48, 2000


@dataclass
class Case:
    """The models that are compared, all in fp32, and the rows.

    Attributes:
        model: the trained weights, merged.
        changes: what the adapter adds to each weight.
        rows: short ones and the long one, as the gate makes them.
        stop_ids: the tokens that end an answer.
        base: logits of the base that predict the answers of the short rows.
        trained: logits of the trained weights on all rows.
    """

    model: Any
    changes: dict[str, torch.Tensor]
    rows: list[CheckRow]
    stop_ids: frozenset[int]
    base: list[Logits]
    trained: list[Logits]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.data for name, weight in self.model.named_parameters()}

    def share(self, agreement: Agreement, export: Sequence[Logits]) -> None:
        """Put the share of the change from the base into an agreement."""
        short = [row for row in self.rows if not row.last]
        ours, theirs = (
            [of_answer(row, each) for row, each in zip(short, some, strict=False)] for some in (self.trained, export)
        )
        if found := survival(short, self.base, ours, theirs):
            agreement.share, agreement.share_error = found


Change = Callable[[], None]
"""Makes something wrong with the weights or the positions of the model in a case."""


def logits(model: Any, rows: Sequence[CheckRow]) -> list[Logits]:
    """Return what a model gives for rows, of a long one its end."""
    with torch.no_grad():
        return [
            model(input_ids=torch.tensor([row.ids]), use_cache=False, logits_to_keep=row.last).logits[0].numpy()
            for row in rows
        ]


def prepared(run: Path) -> Case:
    """Return the case of a run folder."""
    place = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=run).model.create().fetch(weights=True)
    tokenizer = AutoTokenizer.from_pretrained(place.folder)
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(place.folder, dtype=torch.float32), run / "checkpoint"
    )
    changes = {
        f"{name.removeprefix('base_model.model.')}.weight": module.get_delta_weight("default").detach().clone()
        for name, module in tuned.named_modules()
        if hasattr(module, "get_delta_weight") and "default" in module.lora_A
    }

    writes = Speaks(tokenizer)

    def render(text: str) -> str:
        return writes.render(Prompt((Message("user", text),)))

    source = files("framework_plugins.quickstart") / "data" / "orders_held_out.jsonl"
    orders = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()[:PROMPTS]]
    texts = [render(f"{order['instruction']}\n\n{order['input']}") for order in orders] + list(map(render, GENERAL))
    stop_ids, rows = frozenset({tokenizer.eos_token_id, 2}), []
    for text in texts:
        ids = writes.tokenize(text)
        given = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": list(stop_ids), "pad_token_id": 2}
        answer = tuned.generate(input_ids=torch.tensor([ids]), **given)[0, len(ids) :].tolist()
        stopped = answer[-1] in stop_ids
        answer = answer[: -1 if stopped else None][: LONGEST - len(ids)]
        rows.append(CheckRow(text, tuple(ids), tuple(answer), stopped))
    with torch.no_grad(), tuned.disable_adapter():
        base = [of_answer(row, each) for row, each in zip(rows, logits(tuned, rows), strict=True)]
    if long := long_row(writes, LONG):
        rows.append(long)
    model = tuned.merge_and_unload().eval()
    return Case(model, changes, rows, stop_ids, base, logits(model, rows))


def attacks(case: Case) -> Iterator[tuple[str, Change]]:
    """Give what is done wrong, by a name; `restored` undoes it."""
    weights, layers = case.weights, len(case.model.model.layers)

    def layer(number: int) -> list[str]:
        return [name for name in weights if f".layers.{number}." in name and "norm" not in name]

    def scale(names: Sequence[str], factor: float) -> None:
        for name in names:
            weights[name].mul_(factor)

    def add_noise(names: Sequence[str], part: float) -> None:
        random = torch.Generator().manual_seed(0)
        for name in names:
            weights[name].add_(torch.randn(weights[name].shape, generator=random) * weights[name].std() * part)

    def merge_at(factor: float, only: str = "") -> None:
        for name, change in case.changes.items():
            if only in name:
                weights[name].add_(change, alpha=factor - 1)

    every = [name for number in range(layers) for name in layer(number)]
    yield "nothing", lambda: None
    for factor in (1.01, 1.02, 1.05):
        yield f"layer 15 down_proj x{factor}", partial(scale, ["model.layers.15.mlp.down_proj.weight"], factor)
    for factor in (1.01, 1.02):
        yield f"layer 15, all 7 matrices x{factor}", partial(scale, layer(15), factor)
    yield "layer 0 q_proj x1.01", partial(scale, ["model.layers.0.self_attn.q_proj.weight"], 1.01)
    yield "all matrices of all layers x1.001", partial(scale, every, 1.001)
    for part in (0.01, 0.03):
        yield f"layer 15 gets {part:.0%} noise", partial(add_noise, layer(15), part)
    yield "all layers get 1% noise", partial(add_noise, every, 0.01)
    for factor in (0.99, 0.95, 0.9, 0.8, 0.5, 0.0):
        yield f"adapter merged at {factor} of its scale", partial(merge_at, factor)
    for number in (0, 15, 29):
        yield f"adapter of layer {number} left out", partial(merge_at, 0, f".layers.{number}.")
    yield "adapter of layer 29 down_proj left out", partial(merge_at, 0, ".layers.29.mlp.down_proj")
    yield "adapter of all k_proj left out", partial(merge_at, 0, "k_proj")
    rotary = case.model.model.rotary_emb
    frequencies: torch.Tensor = rotary.inv_freq.clone()

    def turn(new: torch.Tensor) -> None:
        rotary.inv_freq.copy_(new)
        rotary.original_inv_freq = new

    def theta(value: float) -> torch.Tensor:
        count = 2 * len(frequencies)
        return torch.pow(value, -(torch.arange(0, count, 2) / count))

    def llama3(factor: float, original: int) -> torch.Tensor:
        wave = 2 * math.pi / frequencies
        share = ((original / wave - 1) / 3).clamp(0, 1)
        return (1 - share) * frequencies / factor + share * frequencies

    for value in (10_000, 90_000, 110_000, 500_000):
        yield f"rope theta {value:,} instead of 100,000", partial(turn, theta(value))
    yield "rope scaling of llama3 (8 times, 8192)", partial(turn, llama3(8, 8192))
    yield "rope scaling of llama3 (32 times, 2048)", partial(turn, llama3(32, 2048))
    yield "rope scaling, linear 1.05", partial(turn, frequencies / 1.05)
    yield "rope: a sliding window of 512", partial(_window, case.model, 512)


def _window(model: Any, size: int | None) -> None:
    """Let each layer look back so far; None: as far as it does."""
    for block in model.model.layers:
        attention = block.self_attn
        attention.forward = type(attention).forward.__get__(attention) if size is None else _windowed(attention, size)


def _windowed(attention: Any, size: int) -> Callable[..., Any]:
    plain = type(attention).forward.__get__(attention)

    def forward(hidden_states: torch.Tensor, *more: Any, **settings: Any) -> Any:
        places = torch.arange(hidden_states.shape[1])
        back = places[:, None] - places
        return plain(hidden_states, *more, **{**settings, "attention_mask": ((back >= 0) & (back < size))[None, None]})

    return forward


@contextmanager
def restored(case: Case) -> Iterator[None]:
    """Undo at the end what is done to a model inside."""
    rotary = case.model.model.rotary_emb
    kept, frequencies = {name: weight.clone() for name, weight in case.weights.items()}, rotary.inv_freq.clone()
    try:
        yield
    finally:
        for name, weight in case.weights.items():
            weight.copy_(kept[name])
        rotary.inv_freq.copy_(frequencies)
        rotary.original_inv_freq = frequencies
        _window(case.model, None)


def rounded(case: Case, rows: Sequence[CheckRow]) -> list[Logits]:
    """Return what the model gives after a rounding to bf16; call it inside `restored`."""
    for weight in case.weights.values():
        weight.copy_(weight.bfloat16().float())
    return logits(case.model, rows)


def word(problem: str) -> str:
    """Return what a gate says."""
    return "refused" if problem else "passes"


def attack(case: Case, only: Sequence[str]) -> None:
    """Print the table of wrong exports."""
    with restored(case):
        right = rounded(case, case.rows)
    tie = max(TIE, widest_tie(case.rows, case.trained, right))
    explained = agree(case.rows, case.trained, right, case.stop_ids, tie)
    OUT.print(
        f"rounding to bf16: top-1 {explained.top1:.2%}, KL {explained.kl:.2g}, {explained.end_kl:.2g} at the end of "
        f"{LONG:,} tokens; ties within {tie:.3f} nats\n"
    )
    OUT.print("| wrong export | top-1 | KL | KL at the end | share | f16, f32 | bf16 | quantized |")
    OUT.print("|---|---|---|---|---|---|---|---|")
    for name, change in attacks(case):
        if not any(part in name for part in only):
            continue
        rows = case.rows if "rope" in name or name == "nothing" else case.rows[:-1]
        with restored(case):
            change()
            found, short = logits(case.model, rows), rounded(case, rows)
        wide = agree(rows, case.trained[: len(rows)], found, case.stop_ids, TIE)
        case.share(wide, found)
        by_trained = agree(rows, case.trained[: len(rows)], short, case.stop_ids, tie)
        by_rounded = agree(rows, right[: len(rows)], short, case.stop_ids, TIE)
        bf16 = exact(by_trained, CONFIG, explained.end_kl) or exact(by_rounded, CONFIG)
        end = f"{wide.end_kl:.2g}" if wide.end_tokens else "-"
        gates = f"{word(exact(wide, CONFIG))} | {word(bf16)} | {word(within(wide, CONFIG))}"
        OUT.print(f"| {name} | {wide.top1:.2%} | {wide.kl:.2g} | {end} | {wide.share:.0%} | {gates} |")


def real_files(case: Case, run: Path, quantizations: Sequence[str]) -> None:
    """Print the table of files of the adapter, and of the adapter at a part of its scale."""
    OUT.print("| file | adapter | top-1 | KL | KL at the end | share | gate |\n|---|---|---|---|---|---|---|")
    for factor in (1.0, 0.5):
        with tempfile.TemporaryDirectory() as top:
            folder = Path(top)
            shutil.copytree(run / "checkpoint", folder / "checkpoint")
            file = folder / "checkpoint" / "adapter_config.json"
            settings = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps({**settings, "lora_alpha": settings["lora_alpha"] * factor}))
            plan = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=folder)
            merge(plan, folder / "checkpoint", folder / "merged", dtype=Dtype.fp16)
            vocabulary = Vocabulary.read(folder / "merged")
            put(folder / "merged", vocabulary.template)
            sentencepiece.complete(folder / "merged")
            whole = converted([folder / "merged"], folder, dtype="f16")["merged"]
            for name in quantizations:
                made = folder / f"{name}.gguf"
                quantize(whole, made, name, threads=1, settings=vocabulary.amendments(whole))
                with Llama(made, n_ctx=LONG + END, threads=1) as llama:
                    found = [llama.logits(row.ids, last=row.last) for row in case.rows]
                agreement = agree(case.rows, case.trained, found, case.stop_ids, TIE)
                case.share(agreement, found)
                problem = exact(agreement, CONFIG) if name in {"f32", "f16"} else within(agreement, CONFIG)
                numbers = f"{agreement.top1:.2%} | {agreement.kl:.2g} | {agreement.end_kl:.2g}"
                share = f"{agreement.share:.1%} ± {agreement.share_error:.1%}"
                OUT.print(f"| {name} | {factor:g} | {numbers} | {share} | {word(problem)} |")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name has one of these in it")
    parser.add_argument("--files", nargs="+", default=[], help="quantizations of real files, instead of the table")
    arguments = parser.parse_args()
    case = prepared(arguments.run)
    if arguments.files:
        real_files(case, arguments.run, arguments.files)
    else:
        attack(case, arguments.only)


if __name__ == "__main__":
    main()
