"""Whether each expert of a model computes with its own matrices of the adapter, as plain peft reads them from its file.

A row goes to each expert alone, and its output is compared with that of the expert's weights and matrices. Meanwhile
the adapter is amplified to the size of the weights, so the rounding of 16 bits does not hide it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora.layer import ParamWrapper

from framework_plugins.hf.load.model_parts import is_computed_by_transformers
from framework_plugins.hf.load.published import ADAPTER, PREFIX, AdapterNames, add_adapter
from framework_plugins.lib import experts

Tensor = torch.Tensor
WRONG = 0.3
"""How far the output of an expert may be from the expected one, as a share of what its matrices change."""
VISIBLE = 0.1
"""What a smaller change than this share of the output counts as: 16 bits round by a hundredth."""
LARGEST = 100.0
"""How many times its weights the adapter of an expert is amplified to at most."""


@torch.no_grad()
def effect_problem(model: PeftModel, folder: Path, names: AdapterNames, weights: Mapping[str, Tensor]) -> str:
    """Name the experts that compute with other matrices than the adapter in a folder has for them; empty if none does.

    Experts that no function of transformers computes are not compared.

    Args:
        model: that has the adapter.
        folder: with the adapter.
        names: of the base.
        weights: the tensors in its file, by their names in the model.
    """
    base: Any = model.get_base_model()
    wrappers: dict[str, list[Any]] = {}
    for name, layer in base.named_modules():
        if isinstance(layer, ParamWrapper) and is_computed_by_transformers(layer.get_base_layer()):
            wrappers.setdefault(name.replace(".base_layer", ""), []).append(layer)
    if not wrappers:
        return ""
    config: Any = PeftConfig.from_pretrained(str(folder))
    read = {}
    for published, layer in add_adapter(names.published, config).get_base_model().named_modules():
        if isinstance(layer, ParamWrapper):
            name = names.to_opened(published)
            read[f"{name.replace('.base_layer', '')}.{layer.parameter_name}"] = name, layer.scaling[ADAPTER]
    wrong = {}
    for name, layers in wrappers.items():
        for layer in layers:
            parameter = f"{name}.{layer.parameter_name}"
            stored, scaling = read.get(parameter, ("", 0.0))
            a, b = (weights.get(f"{PREFIX}{stored}.lora_{part}.weight") for part in "AB")
            numbers = [*range(layer.num_experts)]
            if a is not None and b is not None:
                numbers = _Layer(layers, layer).wrong_experts(a, b * scaling)
            if numbers:
                wrong[parameter] = numbers
    return experts.problem(
        wrong, sum(map(len, wrappers.values())), "experts compute with other matrices than the adapter in the file"
    )


class _Layer:
    """The experts of a layer, with one of their adapters.

    Args:
        wrappers: all that peft has put around the experts, the outermost first.
        wrapper: the one whose adapter is compared.
    """

    def __init__(self, wrappers: Sequence[Any], wrapper: Any) -> None:
        self.wrappers, self.wrapper = wrappers, wrapper
        self.module: Any = wrapper.get_base_layer()
        self.first_name = "gate_up_proj" if self.module.has_gate else "up_proj"
        self.first, self.second = (_unpacked(getattr(self.module, name)) for name in (self.first_name, "down_proj"))

    def wrong_experts(self, lora_a: Tensor, lora_b: Tensor) -> list[int]:
        """Return the experts that do not compute with these matrices, which peft has for all of them."""
        count, is_first = self.wrapper.num_experts, self.wrapper.parameter_name == self.first_name
        weights = self.first if is_first else self.second
        pairs = [
            (a.to(weights.device).float(), b.to(weights.device).float())
            for a, b in experts.matrices(lora_a, lora_b, count)
        ]
        outputs, inputs = self._matrix(weights[0]).shape
        if any(a.shape[1] != inputs or b.shape[0] != outputs for a, b in pairs):
            return [*range(count)]
        sizes = [float((b.mT @ b * (a @ a.mT)).sum().clamp(min=0).sqrt()) for a, b in pairs]
        shares = [size / float(weight.float().norm()) for size, weight in zip(sizes, weights, strict=True) if size > 0]
        if not shares:  # not trained at all
            return []
        factor = min(1 / min(shares), LARGEST / max(shares))
        order = torch.arange(count - 1, -1, -1, device=weights.device)  # not the one in which they are computed
        rows = torch.randn(count, self._matrix(self.first[0]).shape[1], generator=torch.Generator().manual_seed(0))
        rows = rows.to(weights.device, weights.dtype)
        with self._amplified(factor):
            outermost = self.wrappers[0]
            found = outermost(rows, order[:, None], torch.ones(count, 1, dtype=rows.dtype, device=rows.device)).float()
        wrong = []
        for expert, row, output in zip(order.tolist(), rows.float(), found, strict=True):
            a, b = pairs[expert]
            before = self._output(expert, row, is_first=is_first)
            after = self._output(expert, row, lambda x, a=a, b=b: factor * (b @ (a @ x)), is_first=is_first)
            change = max(float((after - before).norm()), VISIBLE * float(after.norm()))
            if not float((output - after).norm()) <= WRONG * change:
                wrong.append(expert)
        return sorted(wrong)

    def _output(self, expert: int, row: Tensor, adapter: Any = None, *, is_first: bool) -> Tensor:
        """Return what an expert makes of a row, in fp32."""
        module = self.module
        states = self._product(self.first_name, self.first, expert, row, adapter if is_first else None)
        states = module._apply_gate(states) if module.has_gate else module.act_fn(states)  # noqa: SLF001 - transformers' own functions do
        states = self._product("down_proj", self.second, expert, states, None if is_first else adapter)
        return module.post_expert_norm(states) if getattr(module, "has_post_expert_norm", False) else states

    def _product(self, name: str, weights: Tensor, expert: int, states: Tensor, adapter: Any) -> Tensor:
        product = self._matrix(weights[expert]).float() @ states
        if self.module.has_bias:
            product = product + getattr(self.module, f"{name}_bias")[expert].float()
        return product if adapter is None else product + adapter(states)

    def _matrix(self, weight: Tensor) -> Tensor:
        """Return the weight of an expert as (outputs, inputs)."""
        return weight.mT if self.module.is_transposed else weight

    @contextmanager
    def _amplified(self, factor: float) -> Iterator[None]:
        """Multiply what one adapter adds, and switch the others of the layer off."""
        scaling = [dict(wrapper.scaling) for wrapper in self.wrappers]
        try:
            for wrapper in self.wrappers:
                for adapter in wrapper.scaling:
                    wrapper.scaling[adapter] *= factor if wrapper is self.wrapper else 0.0
            yield
        finally:
            for wrapper, before in zip(self.wrappers, scaling, strict=True):
                wrapper.scaling.update(before)


def _unpacked(weight: Tensor) -> Tensor:
    """Return the weights of all experts, which may be in four bits."""
    if not hasattr(weight, "quant_state"):
        return weight.data
    from framework_plugins.hf.load.packed_experts import unpack  # noqa: PLC0415 - with bitsandbytes

    packed: Any = weight
    return unpack(packed, packed.quant_state.dtype)
