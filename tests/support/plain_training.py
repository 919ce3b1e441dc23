"""The same training with transformers and peft alone, rows one by one, and what their files say of a run's export.

Each function is called in a process of its own, with what a run has left; nothing of the program takes part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer

Tensor = torch.Tensor
Turns = Sequence[dict[str, str]]
IGNORE = -100


@dataclass(frozen=True)
class PlainRow:
    """Tokens of a conversation, and the same ones where they are learned."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class PlainTraining:
    """What a training did: the loss and the norm of the gradient of each step, and the logits of a row after it."""

    losses: list[float]
    norms: list[float]
    logits: Tensor


def encode(tokenizer: Any, turns: Turns, stops: frozenset[int]) -> PlainRow:
    """Return a row: each answer is learned up to its stop token, after the prompt that the template writes for it.

    Raises:
        ValueError: the template writes an earlier turn differently, once others follow.
    """

    def ids_of(some: Turns, *, opened: bool = False) -> list[int]:
        ids: list[int] = tokenizer.apply_chat_template(some, add_generation_prompt=opened, return_dict=False)
        return ids

    ids = ids_of(turns)
    if turns[-1]["role"] == "assistant" and ids[-1] not in stops:  # what opens the next turn may end the answer
        longer = ids_of([*turns, {"role": "user", "content": "Why?"}])
        ids = longer[: next((at + 1 for at in range(len(ids) - 2, len(longer)) if longer[at] in stops), len(ids))]
    labels = [IGNORE] * len(ids)
    for number, turn in enumerate(turns):
        if turn["role"] == "assistant":
            prompt = ids_of(turns[:number], opened=True)
            if ids[: len(prompt)] != prompt:
                raise ValueError(f"the prompt of turn {number} is not how the conversation begins")
            end = next(at for at in range(len(prompt), len(ids)) if ids[at] in stops) + 1
            labels[len(prompt) : end] = ids[len(prompt) : end]
    return PlainRow(ids, labels)


def read_rows(model: Path, file: Path) -> list[PlainRow]:
    """Return the rows of a file of conversations, as a model's template writes them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    settings = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))
    ids = settings["eos_token_id"]
    stops = frozenset([ids] if isinstance(ids, int) else ids)
    lines = file.read_text(encoding="utf-8").splitlines()
    return [encode(tokenizer, json.loads(line)["messages"], stops) for line in lines]


def published_class(folder: Path) -> Any:
    """Return the class that config.json names, from which others load the model."""
    return getattr(transformers, AutoConfig.from_pretrained(folder).architectures[0])


def open_model(folder: Path) -> Any:
    """Load a model in its published class, in fp32 and with the simplest attention that it has."""
    kind = published_class(folder)
    try:
        return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    except ValueError:
        return kind.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def logits_of(model: Any, ids: Sequence[int]) -> Tensor:
    """Return the logits of each place of a row."""
    logits: Tensor = model.eval()(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()
    return logits


def train(model: Path, rows: Sequence[PlainRow], adapter: Path, *, steps: int, rate: float, seed: int) -> PlainTraining:
    """Train an adapter with the settings of a saved one, all rows in each step, a pass for each row."""
    settings = LoraConfig.from_pretrained(adapter)
    settings.inference_mode = False
    base = open_model(model)
    transformers.set_seed(seed)
    tuned = get_peft_model(base, settings).train()
    weights = [weight for weight in tuned.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    learned = sum(label != IGNORE for row in rows for label in row.labels[1:])
    losses, norms = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        parts = [_row_loss(tuned, row) / learned for row in rows]
        balance = _balance_loss(tuned, rows)
        loss = torch.stack(parts).sum() if balance is None else torch.stack(parts).sum() + balance
        torch.autograd.backward(loss)
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights, 1.0)))
        optimizer.step()
    return PlainTraining(losses, norms, logits_of(tuned, rows[0].ids))


def _row_loss(model: Any, row: PlainRow) -> Tensor:
    """Return the summed cross entropy of a row."""
    logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float()
    return functional.cross_entropy(logits[:-1], torch.tensor(row.labels[1:]), ignore_index=IGNORE, reduction="sum")


def _balance_loss(model: Any, rows: Sequence[PlainRow]) -> Tensor | None:
    """Return the auxiliary loss that a mixture of experts has of all tokens, weighted, as TRL adds it; None if none."""
    config = model.config.get_text_config()
    weight = getattr(config, "router_aux_loss_coef", None)
    if not weight or not hasattr(config, "output_router_logits"):
        return None
    longest = max(len(row.ids) for row in rows)
    gaps = [longest - len(row.ids) for row in rows]
    ids = torch.tensor([row.ids + [0] * gap for row, gap in zip(rows, gaps, strict=True)])
    mask = torch.tensor([[1] * len(row.ids) + [0] * gap for row, gap in zip(rows, gaps, strict=True)])
    try:
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, output_router_logits=True)
    except TypeError:  # its class has the setting, and no such argument
        return None
    loss = getattr(out, "aux_loss", None)
    return weight * loss if isinstance(loss, Tensor) and loss.requires_grad else None


@dataclass(frozen=True)
class LoadedAdapter:
    """A saved adapter in the published class, as peft loads it.

    Attributes:
        effect: the largest change of a logit.
        lost: tensors of the file that the model does not have, or has with other values.
        logits: of the row.
    """

    effect: float
    lost: list[str]
    logits: Tensor


def load_adapter(model: Path, adapter: Path, ids: Sequence[int]) -> LoadedAdapter:
    """Load a saved adapter, and compare it with its file; peft may rename a tensor while it loads it."""
    base = open_model(model)
    before = logits_of(base, ids)
    tuned = PeftModel.from_pretrained(base, adapter)
    logits = logits_of(tuned, ids)
    state, saved = get_peft_model_state_dict(tuned), load_file(adapter / "adapter_model.safetensors")
    loaded = {weight.numpy(force=True).tobytes() for weight in state.values()}
    lost = [name for name, weight in saved.items() if weight.numpy().tobytes() not in loaded]
    return LoadedAdapter(float((logits - before).abs().max()), lost, logits)


def mean_divergence(logits: Tensor, other: Tensor) -> float:
    """Return the mean KL divergence of predictions from those of other logits, over the tokens that both have."""
    shared = min(logits.shape[-1], other.shape[-1])
    wanted, found = (each[:, :shared].log_softmax(-1) for each in (logits, other))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def largest(values: Iterable[float]) -> float:
    """Return the largest value, infinity if one is not a number."""
    return max((float("inf") if value != value else value for value in values), default=0.0)  # noqa: PLR0124 - not a number
