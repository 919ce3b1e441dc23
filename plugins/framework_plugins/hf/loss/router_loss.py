"""The auxiliary loss of a mixture of experts: it keeps all experts in use (Fedus et al., arXiv 2101.03961).

transformers computes it for a batch, over all tokens that are not padding. Here its own function does so for the rows
of a pass: a token that rows of a tree share counts once for each of them, as it does in a padded batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from framework_plugins.hf.packing.parts import Part

OUTPUT_ROUTER_LOGITS = {"output_router_logits": True}
"""The argument by which a model gives the logits of its routers, and its own auxiliary loss."""


@dataclass(frozen=True)
class RouterLoss:
    """How evenly the experts of a model are used.

    Attributes:
        coefficient: what the model's config multiplies it by.
        experts: of a layer.
        chosen: experts that a token goes to.
        function: of transformers, beside the model's class.
    """

    coefficient: float
    experts: int
    chosen: int
    function: Callable[[tuple[torch.Tensor, ...], int, int, torch.Tensor], torch.Tensor]

    def __call__(self, router_logits: tuple[torch.Tensor, ...], part: Part) -> torch.Tensor:
        """Return the auxiliary loss of a part, without its coefficient; `router_logits`: (tokens, experts) each."""
        times = part["row_counts"] if "row_counts" in part else part["attention_mask"]
        return self.function(router_logits, self.experts, self.chosen, times)

    def __str__(self) -> str:
        return f"{self.coefficient:g} x load balancing (router_aux_loss_coef in the model's config)"


# transformers computes it: its formula differs from model to model.
def find_router_loss(model: Any) -> RouterLoss | None:
    """Return the auxiliary loss of a model; None if it has none, or one without a function beside its class."""
    config = model.config.get_text_config()
    coefficient = auxiliary_coefficient(model)
    function = getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
    experts, chosen = (
        getattr(model, name, getattr(config, name, None)) for name in ("num_experts", "num_experts_per_tok")
    )
    if not (coefficient and function and isinstance(experts, int) and isinstance(chosen, int)):
        return None
    return RouterLoss(coefficient, experts, chosen, function)


def auxiliary_coefficient(model: Any) -> float:
    """Return by how much the config of a model weights its auxiliary loss; 0 if it has none."""
    config = model.config.get_text_config()
    if not hasattr(config, "output_router_logits"):
        return 0.0
    return float(getattr(config, "router_aux_loss_coef", None) or 0.0)
