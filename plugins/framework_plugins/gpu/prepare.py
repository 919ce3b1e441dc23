"""Random weights and rows: what all contenders train on. It imports torch, so the command calls it in a process.

The rows are tokenized here by transformers alone, for the peers; framework gets the same conversations, and the command
compares the numbers of tokens.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from framework.api import GIB
from framework_gpu_tests.tiny import tiny_llama
from framework_plugins.gpu.parts import BATCH, HELD_OUT, LLAMA, TINY, BenchPart

SEED = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHARD = 2 * GIB
"""Bytes of a file of weights: no more of them are in memory at a time."""
DRY_SCALE = 0.05


def write_base(shape: str, target: Path, *, dry: bool) -> None:
    """Write random weights in bf16, a layer or two at a time, and a tokenizer."""
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
    shard: dict[str, torch.Tensor] = {}
    for position, (name, weight) in enumerate(named.items(), start=1):
        values = (
            torch.ones(weight.shape)
            if weight.dim() == 1
            else torch.empty(weight.shape).normal_(std=0.02, generator=generator)
        )
        shard[name] = values.to(torch.bfloat16)
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD or position == len(named):
            file = f"model-{len(set(where.values())):05}.safetensors"
            save_file(shard, target / file, metadata={"format": "pt"})
            where |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": where}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def conversations(kind: str, count: int, *, dry: bool) -> list[dict[str, Any]]:
    """Return rows of one kind; a letter after a space is a token."""
    draw = random.Random(f"{kind}-{SEED}")  # noqa: S311 - which letters, not a secret
    scale = DRY_SCALE if dry else 1.0

    def words(tokens: float) -> str:
        return " ".join(draw.choice(LETTERS) for _ in range(max(3, round(scale * tokens))))

    def alpaca(middle: float, spread: float, limit: int) -> float:
        return min(limit, draw.lognormvariate(math.log(middle), spread))

    system = [{"role": "system", "content": words(500)}]
    rows = []
    for _ in range(count):
        if kind == "long":
            before, question, answer = [], words(1000), words(1000)
        elif kind == "shared":
            before, question, answer = system, words(30), words(60)
        else:
            before, question, answer = [], words(alpaca(25, 0.6, 200)), words(alpaca(60, 0.9, 600))
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": [*before, *talk]})
    return rows


def write_rows(part: BenchPart, model: Path, folder: Path) -> None:
    """Write the conversations of a part, and their token ids and labels: the last turn is learned."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = conversations(part.rows, part.steps * BATCH + HELD_OUT, dry=part.dry)
    for name, split_rows in (("train", rows[:-HELD_OUT]), ("held", rows[-HELD_OUT:])):
        _write(folder / f"{name}.jsonl", split_rows)
        _write(folder / f"{name}_tokens.jsonl", [_tokens(tokenizer, row["messages"]) for row in split_rows])


def _tokens(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> dict[str, list[int]]:
    prompt_ids = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    if ids[: len(prompt_ids)] != prompt_ids:
        raise ValueError("the conversation does not begin with its prompt")
    return {"input_ids": ids, "labels": [-100] * len(prompt_ids) + ids[len(prompt_ids) :]}


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
