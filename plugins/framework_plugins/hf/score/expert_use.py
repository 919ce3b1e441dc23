"""How often the experts of a mixture are chosen, counted while rows go through the model for their losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from framework.api import ExpertUse
from framework.api.training import TokenRow
from framework_plugins.hf.load.model_parts import is_computed_by_transformers
from framework_plugins.hf.packing.parts import Part, all_tokens
from framework_plugins.hf.packing.tree_states import NODES

Tensor = torch.Tensor


class ExpertCounter:
    """Counts at the inputs of the experts, which are the choices of the router: some add more to its logits first.

    Args:
        model: without peft's wrapper. Experts that no function of transformers computes are not counted.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers: dict[str, Any] = {
            name.replace(".base_layer", ""): module
            for name, module in model.named_modules()
            if is_computed_by_transformers(module) and hasattr(module, "num_experts")
        }
        self._counts: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor] = {}
        self._tokens = 0.0
        self._texts = 0
        self._chosen = 0

    @contextmanager
    def counting(self, part: Part) -> Iterator[None]:
        """Count what the forward pass of a part chooses within a context."""
        if not self._layers:
            yield
            return
        weights, texts, count = _texts(part)
        handles = [
            module.register_forward_pre_hook(self._hook(name, module, weights, texts, count), with_kwargs=True)
            for name, module in self._layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._tokens += float(weights.sum())
        self._texts += count

    def _hook(self, name: str, module: Any, weights: Tensor, texts: Tensor, count: int) -> Any:
        experts: int = module.num_experts

        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            index = named["top_k_index"] if "top_k_index" in named else arguments[1]
            index = index.reshape(-1, index.shape[-1])
            if len(index) != len(weights):  # tokens in another order, or only some
                return
            self._chosen = index.shape[1]
            times = weights.repeat_interleave(index.shape[1])
            counts = torch.zeros(experts, device=index.device).index_add_(0, index.flatten(), times)
            # Tokens that belong to no text of their own are in the last one.
            places = (texts[:, None] * experts + index).flatten()
            chosen = torch.zeros((count + 1) * experts, device=index.device).index_add_(0, places, times)
            rows = (chosen.view(count + 1, experts)[:count] > 0).sum(dim=0)
            self._counts[name] = self._counts.get(name, 0) + counts.double()
            self._rows[name] = self._rows.get(name, 0) + rows

        return hook

    def use(self, rows: Sequence[TokenRow]) -> ExpertUse | None:
        """Return how often each expert was chosen; None if there are none.

        Args:
            rows: what was counted. None too if a part was not counted once, as after memory ran out.
        """
        if not self._counts or round(self._tokens) != all_tokens(rows):
            return None
        return ExpertUse(
            tokens=all_tokens(rows),
            texts=self._texts,
            chosen=self._chosen,
            counts={name: counts.round().long().tolist() for name, counts in self._counts.items()},
            in_texts={name: counts.tolist() for name, counts in self._rows.items()},
        )


def _texts(part: Part) -> tuple[Tensor, Tensor, int]:
    """Return for each token of a part how many rows hold it, and which text it is of; and how many texts there are.

    A text is a row, or of a tree what no other row has after a common beginning.
    """
    ids = part["input_ids"]
    if "row_counts" not in part:
        mask = part["attention_mask"]
        texts = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        return mask.reshape(-1).float(), texts.reshape(-1), len(ids)
    nodes = part[NODES]
    parents = {node.parent for node in nodes}
    leaves = [node for number, node in enumerate(nodes) if number not in parents]
    texts = torch.full((ids.numel(),), len(leaves))
    for number, leaf in enumerate(leaves):
        texts[leaf.start : leaf.start + leaf.length] = number
    return part["row_counts"].reshape(-1), texts.to(ids.device), len(leaves)
