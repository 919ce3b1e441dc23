"""Whether each weight of a merged folder is the trained one, rounded once.

A comparison of logits cannot see one module of two hundred that was not merged. So each weight is multiplied with a
random vector, which needs no second model in memory: the products of the trained model are kept, a number for each row
of each matrix, and those of the folder have to be the same. The size of a difference between two products is that of
the difference between the matrices, on average.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from framework_plugins.lib import experts

CHUNK_ELEMENTS = 2**22
"""16 MiB in fp32."""
FORMATS = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCE = 1e-4
"""How large a difference may be, as a share of the weight: a device that adds in another order rounds a few numbers
differently. A module of the quickstart's adapter is 0.0013 of its weight at least."""
HELD_IN_16_BITS = 2.0**-8
"""The same for a weight that is not merged, if memory has rounded it to 16 bits."""
NAMED = 2
"""Weights that a message names."""


@dataclass(frozen=True)
class Product:
    """A trained weight, as its products with a random vector.

    Attributes:
        rounded: after a rounding to each of FORMATS.
        tolerance: how large a difference may be, as a share of the weight, or of each expert.
        experts: how many it holds; 0: it is one matrix.
    """

    rounded: tuple[torch.Tensor, ...]
    tolerance: float
    experts: int = 0

    @classmethod
    def of(cls, weight: torch.Tensor, tolerance: float = TOLERANCE, count: int = 0) -> Product:
        limit = experts.tolerance(tolerance, weight.numel() // count) if count else tolerance
        return cls(tuple(_product(weight, rounded) for rounded in FORMATS), limit, count)

    def differences(self, weight: torch.Tensor) -> list[float]:
        """Return how far each expert, or the weight, is from the nearest of the formats, as a share of its size."""
        product = _product(weight)
        if product.shape != self.rounded[0].shape:
            return [float("inf")] * max(1, self.experts)
        parts = []
        for rounded in self.rounded:
            off, size = (
                (values.reshape(max(1, self.experts), -1)).norm(dim=1) for values in (product - rounded, rounded)
            )
            parts.append((off / size.clamp(min=1e-30)).tolist())
        # Of a wrong format all experts are a little off, of the right one those that are others.
        return min(parts, key=lambda shares: (sum(not share <= self.tolerance for share in shares), max(shares)))


def trained_products(model: nn.Module) -> dict[str, Product]:
    """Return the products of a trained model, merged by peft in fp32. Nothing else can be done with it afterwards."""
    # Where memory holds 16 bits, it has rounded what was trained whole, and the folder may have more of it.
    is_16_bit = any(weight.dtype in FORMATS[1:] for weight in model.parameters())
    tolerance = HELD_IN_16_BITS if is_16_bit else TOLERANCE
    products: dict[int, Product] = {}
    counts = {id(weight): len(weight) for _, weight, _ in experts.fused(model)}
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            with merged_in_fp32(module) as weights:
                products |= {id(weight): Product.of(weight.data, count=counts.get(id(weight), 0)) for weight in weights}
    if isinstance(model, PeftModel):
        with warnings.catch_warnings(action="ignore"):  # all is merged already, it says
            model = model.merge_and_unload()
    names = dict(_weights(model))
    for weight in names.values():
        if id(weight) not in products:  # tied ones once
            products[id(weight)] = Product.of(weight.data, tolerance, counts.get(id(weight), 0))
    return {name: products[id(weight)] for name, weight in names.items()}


def separate_shared(model: nn.Module) -> None:
    """Give each adapted layer a weight of its own where several share one: a merge adds to each only its adapter."""
    owners: dict[int, nn.Module] = {}
    for module in model.modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        layer: nn.Module = module.get_base_layer()
        for name, weight in [*layer.named_parameters(recurse=False)]:
            if owners.setdefault(id(weight), layer) is not layer:
                setattr(layer, name, nn.Parameter(weight.detach().clone(), requires_grad=False))


def weights_problem(model: nn.Module, trained: Mapping[str, Product]) -> str:
    """Say which weights of a model are not the trained ones; empty if all are.

    Args:
        model: with the weights of a folder.
        trained: see `trained_products`.
    """
    weights = dict(_weights(model))
    if missing_names := sorted(trained.keys() - weights.keys()):
        return f"it has no {missing_names[0]}" + (
            f" and {len(missing_names) - 1} more" if len(missing_names) > 1 else ""
        )
    off = {name: expected.differences(weights[name].data) for name, expected in trained.items()}
    wrong = {
        name: numbers
        for name, parts in off.items()
        if (numbers := [number for number, part in enumerate(parts) if not part <= trained[name].tolerance])
    }
    worst = {name: max(off[name], key=lambda part: (math.isnan(part), part)) for name in wrong}
    named = ", ".join(
        f"{experts.named(numbers) + ' of ' if trained[name].experts else ''}{name} by {worst[name]:.2g} of its size"
        for name, numbers in sorted(wrong.items(), key=lambda item: (not math.isnan(worst[item[0]]), -worst[item[0]]))[
            :NAMED
        ]
    )
    return f"{len(wrong)} of {len(off)} weights are not those of the training: {named}" if wrong else ""


@contextmanager
def merged_in_fp32(module: BaseTunerLayer) -> Iterator[list[nn.Parameter]]:
    """Merge the adapter of a layer in fp32, and give its weights; they have their own format again afterwards."""
    is_wrapper = isinstance(module, ParamWrapper)  # of several around a module, each changes one of its parameters
    weights = [module.get_param()] if is_wrapper else list(module.get_base_layer().parameters(recurse=False))
    dtypes = [weight.dtype for weight in weights]
    for weight in weights:
        weight.data = weight.data.float()
    module.merge()
    yield weights
    for weight, dtype in zip(weights, dtypes, strict=True):
        weight.data = weight.data.to(dtype)


def _weights(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Give weights and buffers by name; tied ones have two names."""
    for name, weight in model.state_dict(keep_vars=True).items():
        if weight.is_floating_point():
            yield name, weight


def _product(weight: torch.Tensor, rounded: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the product with a random vector, in fp32; a weight without columns is compared as it is."""
    columns = weight.shape[-1] if weight.dim() > 1 else 1
    random = torch.randn(columns, generator=torch.Generator().manual_seed(0)) if columns > 1 else torch.ones(1)
    random = random.to(weight.device)
    rows = torch.split(weight.reshape(-1, columns), max(1, CHUNK_ELEMENTS // columns))
    return torch.cat([chunk.float().to(rounded).float() @ random for chunk in rows]).cpu()
