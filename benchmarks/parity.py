"""Which wrong exports the parity gate refuses: SmolLM2 with an adapter of the quickstart, changed on purpose.

    python -m framework run_dir=RUN stages=[data,train]                 an adapter of the quickstart
    nice -n 19 python -m benchmarks.parity RUN                    the tables behind docs/explanation/parity.md
    nice -n 19 python -m benchmarks.parity RUN --only rope        the rows whose name has that in it
    nice -n 19 python -m benchmarks.parity RUN --files q4_k_m     real files of the adapter, and of half of it
    nice -n 19 python -m benchmarks.parity RUN --folder           what is wrong beside the weights

The trained weights are merged in fp32 in memory, one thing is wrong with them, and the gate's own functions say whether
an export would pass: weight by weight; by what it answers in fp32, which stands for f16 and f32; rounded to bf16, as a
folder in bf16 holds them; and by the bounds of quantized files, without the noise of a quantization. An export without
an error is the first row. The long row is read only for errors of positions (`rope`), since the short ones take a third
of the time and see the others. One core takes about fifteen minutes, `--files` one minute for each file.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.common import OUT, command_line, table_head, table_row
from framework import testing
from framework.api.records import Message, Prompt
from framework_plugins.exports.chat_template import write_template
from framework_plugins.exports.config import Dtype, ParityConfig
from framework_plugins.exports.gguf.convert import sentencepiece
from framework_plugins.exports.gguf.metadata import Vocabulary
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity.agreement import (
    Agreement,
    Logits,
    compare_logits,
    exact_problem,
    quantized_problem,
    widest_tie,
)
from framework_plugins.exports.parity.change_retained import answer_logits, change_retained
from framework_plugins.exports.parity.check_rows import (
    COMPARED_TAIL,
    GENERAL_QUESTIONS,
    MAX_ROW_TOKENS,
    CheckRow,
    long_row,
)
from framework_plugins.exports.parity.companion_check import TrainedTokens, folder_problem
from framework_plugins.exports.parity.conversations import render_conversations
from framework_plugins.exports.parity.quantized_weights import tensors_problem
from framework_plugins.exports.parity.reference import TIE_NATS
from framework_plugins.exports.parity.weights import Product, trained_products, weights_problem
from tests.support.ggufs import converted
from tests.support.speaks import Speaks

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
        products: what the weights of a merge have to be.
        base: logits of the base that predict the answers of the short rows.
        trained: logits of the trained weights on all rows.
    """

    model: Any
    changes: dict[str, torch.Tensor]
    rows: list[CheckRow]
    stop_ids: frozenset[int]
    products: dict[str, Product]
    base: list[Logits]
    trained: list[Logits]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.data for name, weight in self.model.named_parameters()}

    def share(self, agreement: Agreement, export: Sequence[Logits]) -> None:
        """Put the share of the change from the base into an agreement."""
        short = [row for row in self.rows if not row.last]
        ours, theirs = (
            [answer_logits(row, each) for row, each in zip(short, some, strict=False)]
            for some in (self.trained, export)
        )
        if found := change_retained(short, self.base, ours, theirs):
            agreement.share, agreement.share_error = found


Change = Callable[[], object]
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
    texts = [render(f"{order['instruction']}\n\n{order['input']}") for order in orders] + list(
        map(render, GENERAL_QUESTIONS)
    )
    stop_ids, rows = frozenset({tokenizer.eos_token_id, 2}), []
    for text in texts:
        ids = writes.tokenize(text)
        given = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": list(stop_ids), "pad_token_id": 2}
        answer = tuned.generate(input_ids=torch.tensor([ids]), **given)[0, len(ids) :].tolist()
        stopped = answer[-1] in stop_ids
        answer = answer[: -1 if stopped else None][: MAX_ROW_TOKENS - len(ids)]
        rows.append(CheckRow(text, tuple(ids), tuple(answer), stopped))
    with torch.no_grad(), tuned.disable_adapter():
        base = [answer_logits(row, each) for row, each in zip(rows, logits(tuned, rows), strict=True)]
    if long := long_row(writes, LONG):
        rows.append(long)
    products = trained_products(tuned)
    model = tuned.base_model.model.eval()
    return Case(model, changes, rows, stop_ids, products, base, logits(model, rows))


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
    for name in np.random.default_rng(1).choice(sorted(case.changes), 7, replace=False):
        yield (
            f"adapter of {name.removeprefix('model.layers.').removesuffix('.weight')} left out",
            partial(merge_at, 0, name),
        )

    def swap(some: Mapping[str, torch.Tensor], first: int, second: int) -> None:
        for name in [name for name in some if f".layers.{first}." in name]:
            other = name.replace(f".{first}.", f".{second}.")
            apart = some[other] - some[name]
            weights[name].add_(apart)
            weights[other].sub_(apart)

    for first in (14, 28):
        yield f"layers {first} and {first + 1} swapped", partial(swap, weights, first, first + 1)
    yield "adapters of layers 14 and 15 swapped", partial(swap, case.changes, 14, 15)

    def untie(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        tied = case.model.lm_head
        case.model.lm_head = torch.nn.Linear(tied.in_features, tied.out_features, bias=False)
        case.model.lm_head.weight.data = change(tied.weight.data.clone())

    for factor in (1.02, 1.1, 1.5):
        yield f"head x{factor}", partial(untie, partial(torch.mul, other=factor))
    yield (
        "head: rows of tokens above 40,000 are 0",
        partial(untie, lambda head: head * (torch.arange(len(head)) < 40_000)[:, None]),
    )

    def set_epsilon(value: float) -> None:
        for module in norms(case.model):
            module.variance_epsilon = value

    for value in (1e-6, 1e-4, 1e-3):
        yield f"norms: epsilon {value:g} instead of 1e-05", partial(set_epsilon, value)
    yield (
        "embeddings of tokens 17,000 to 20,000 are 0",
        weights["model.embed_tokens.weight"][17_000:20_000].zero_,
    )
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


def norms(model: Any) -> list[Any]:
    """Return the modules that norm."""
    return [module for module in model.modules() if hasattr(module, "variance_epsilon")]


SPOILED: dict[str, Callable[[list[Logits]], list[Logits]]] = {
    "the end of the long row is NaN": lambda rows: [*rows[:-1], np.full_like(rows[-1], np.nan)],
    "156 positions of that end are infinite": lambda rows: [
        *rows[:-1], np.where(np.arange(len(rows[-1]))[:, None] < 100, rows[-1], np.inf)
    ],
    "one short row is NaN": lambda rows: [np.full_like(rows[0], np.nan), *rows[1:]],
    "64 tokens of padding, likelier than all others": lambda rows: [
        np.concatenate([row, np.full_like(row[:, :64], 99)], 1) for row in rows
    ],
}  # fmt: skip
"""What an export may compute without a weight that is wrong, by overflow for example."""


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
    head, epsilon = case.model.lm_head, norms(case.model)[0].variance_epsilon
    try:
        yield
    finally:
        case.model.lm_head = head
        for module in norms(case.model):
            module.variance_epsilon = epsilon
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
    tie = max(TIE_NATS, widest_tie(case.rows, case.trained, right))
    explained = compare_logits(case.rows, case.trained, right, case.stop_ids, tie)
    OUT.print(
        f"rounding to bf16: top-1 {explained.top1:.2%}, KL {explained.kl:.2g}, {explained.end_kl:.2g} at the end of "
        f"{LONG:,} tokens; ties within {tie:.3f} nats\n"
    )
    columns = "wrong export", "top-1", "KL", "KL at the end", "share", "weights", "f16, f32", "bf16", "quantized"
    OUT.print(table_head(*columns))

    def show(name: str, rows: Sequence[CheckRow], found: list[Logits], short: list[Logits], weights: str) -> None:
        wide = compare_logits(rows, case.trained[: len(rows)], found, case.stop_ids, TIE_NATS)
        if not wide.not_finite:
            case.share(wide, found)
        by_trained = compare_logits(rows, case.trained[: len(rows)], short, case.stop_ids, tie)
        by_rounded = compare_logits(rows, right[: len(rows)], short, case.stop_ids, TIE_NATS)
        bf16 = exact_problem(by_trained, CONFIG, explained) or exact_problem(by_rounded, CONFIG)
        end, share = (
            f"{wide.end_kl:.2g}" if wide.end_tokens else "-",
            "-" if wide.share is None else f"{wide.share:.0%}",
        )
        gates = map(word, (weights, exact_problem(wide, CONFIG), bf16, quantized_problem(wide, CONFIG)))
        OUT.print(table_row(name, f"{wide.top1:.2%}", f"{wide.kl:.2g}", end, share, *gates))

    for name, change in attacks(case):
        if any(part in name for part in only):
            rows = case.rows if "rope" in name or name == "nothing" else case.rows[:-1]
            with restored(case):
                change()
                weights = weights_problem(case.model, case.products)
                found, short = logits(case.model, rows), rounded(case, rows)
            show(name, rows, found, short, weights)
    for name, spoil in SPOILED.items():
        if any(part in name for part in only):
            show(name, case.rows, spoil(list(case.trained)), spoil(list(right)), "")


def real_files(case: Case, run: Path, quantizations: Sequence[str]) -> None:
    """Print the table of files of the adapter, and of the adapter at a part of its scale."""
    OUT.print(table_head("file", "adapter", "top-1", "KL", "KL at the end", "share", "tensors", "answers"))
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
            write_template(folder / "merged", vocabulary.template)
            sentencepiece.complete_folder(folder / "merged")
            whole = converted([folder / "merged"], folder, dtype="f16")["merged"]
            for name in quantizations:
                made = folder / f"{name}.gguf"
                quantize(whole, made, name, threads=1, settings=vocabulary.metadata_overrides(whole))
                with Llama(made, n_ctx=LONG + COMPARED_TAIL, threads=1) as llama:
                    found = [llama.logits(row.ids, last=row.last) for row in case.rows]
                agreement = compare_logits(case.rows, case.trained, found, case.stop_ids, TIE_NATS)
                case.share(agreement, found)
                problem = (
                    exact_problem(agreement, CONFIG) if name in {"f32", "f16"} else quantized_problem(agreement, CONFIG)
                )
                numbers = f"{agreement.top1:.2%}", f"{agreement.kl:.2g}", f"{agreement.end_kl:.2g}"
                share = f"{agreement.share:.1%} ± {agreement.share_error:.1%}"
                tensors = word(tensors_problem(made, whole))
                OUT.print(table_row(name, f"{factor:g}", *numbers, share, tensors, word(problem)))


def edited(name: str, edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Return what changes a JSON file of a folder."""

    def change(folder: Path) -> None:
        edit(document := json.loads((folder / name).read_text(encoding="utf-8")))
        (folder / name).write_text(json.dumps(document), encoding="utf-8")

    return change


def in_template(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return what changes the chat template of a folder."""

    def write(folder: Path) -> None:
        file = folder / "chat_template.jinja"
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")

    return write


def swap_tokens(document: dict[str, Any]) -> None:
    """Let two rare tokens have each other's ids."""
    vocabulary = document["model"]["vocab"]
    one, other = (token for token, number in vocabulary.items() if number in {20_000, 30_001})
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


BOS = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
FOLDERS: dict[str, Callable[[Path], None]] = {
    "nothing": lambda _: None,
    "a stop token that no answer has": edited("generation_config.json", lambda it: it.update(eos_token_id=[2, 30_000])),
    "temperature 9": edited("generation_config.json", lambda it: it.update(temperature=9.0, do_sample=True)),
    "template: a newline at the end": in_template(lambda text: text + "\n\n"),
    "template: strips each text": in_template(
        lambda text: text.replace("message['content']", "message['content'].strip()")
    ),
    "template: differs from the fifth turn on": in_template(
        lambda text: "{%- if messages|length > 4 %}X{% endif -%}" + text
    ),
    "template: differs for texts of 2,000 characters": in_template(
        lambda text: "{%- if messages[-1]['content']|length > 2000 %}X{% endif -%}" + text
    ),
    "tokenizer: a BOS before every text": edited(
        "tokenizer.json",
        lambda it: (
            it["post_processor"]["single"].insert(0, BOS),
            it["post_processor"]["special_tokens"].update(
                {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
            ),
        ),
    ),
    "tokenizer: an added token is lost": edited(
        "tokenizer.json",
        lambda it: it.update(added_tokens=[each for each in it["added_tokens"] if each["content"] != "<file_sep>"]),
    ),
    "tokenizer: two rare tokens swapped": edited("tokenizer.json", swap_tokens),
    "tokenizer: NFKC": edited("tokenizer.json", lambda it: it.update(normalizer={"type": "NFKC"})),
    "tokenizer: small letters": edited("tokenizer.json", lambda it: it.update(normalizer={"type": "Lowercase"})),
    "tokenizer: texts are cut at 64 tokens": edited(
        "tokenizer.json",
        lambda it: it.update(
            truncation={"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
        ),
    ),
    "tokenizer: model_max_length 128": edited("tokenizer_config.json", lambda it: it.update(model_max_length=128)),
    "tokenizer: padding on the right": edited("tokenizer_config.json", lambda it: it.update(padding_side="right")),
    "config: epsilon of the norms 1e-6": edited("config.json", lambda it: it.update(rms_norm_eps=1e-6)),
    "config: a sliding window of 512": edited("config.json", lambda it: it.update(sliding_window=512)),
}
"""What may be wrong in a folder beside its weights."""


def folders(run: Path) -> None:
    """Print the table of what is wrong beside the weights."""
    plan = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=run)
    base = plan.model.create().fetch(weights=False).folder
    writes = Speaks(AutoTokenizer.from_pretrained(base))
    rendered = list(render_conversations(writes, [Prompt((Message("user", text),)) for text in GENERAL_QUESTIONS]))
    tokens = TrainedTokens.of(plan, run / "checkpoint", base, frozenset({2}))
    OUT.print(table_head("change", "result"))
    for name, change in FOLDERS.items():
        with tempfile.TemporaryDirectory() as top:
            copy = shutil.ignore_patterns("*.safetensors")
            folder = Path(shutil.copytree(base, Path(top) / "merged", ignore=copy))
            change(folder)
            problem = folder_problem(folder, base, base, tokens, rendered, trust=False)
            OUT.print(table_row(name, f"refused: {problem}" if problem else "passes"))


def main() -> None:
    """Print a table."""
    parser = command_line(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name has one of these in it")
    parser.add_argument("--files", nargs="+", default=[], help="quantizations of real files, instead of the table")
    parser.add_argument("--folder", action="store_true", help="errors beside the weights, instead of the table")
    arguments = parser.parse_args()
    if arguments.folder:
        folders(arguments.run)
        return
    case = prepared(arguments.run)
    if arguments.files:
        real_files(case, arguments.run, arguments.files)
    else:
        attack(case, arguments.only)


if __name__ == "__main__":
    main()
