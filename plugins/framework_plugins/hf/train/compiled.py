"""The layers of a model, each compiled by torch, in the passes of a training alone.

A compiled layer reads and writes memory less often between its products. Before the first step, copies of a layer of
each kind are computed both ways, for what two passes gave them: a layer that does not become one graph, needs one for
each length, or gives something else stays as it is, as do all others then. Answers and scores are computed as before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from framework.api import count, is_out_of_memory, summarize_error
from framework_plugins.hf.fused_layers.install import HALF_BITS, ROUNDINGS, TOLERANCE, copied, distance, parts_in_4_bits
from framework_plugins.hf.settings.config import Switch

Tensor = torch.Tensor
Results = list[Tensor]
Captured = list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
BACKEND = "inductor"
WORTH_STEPS = 200
"""Steps of a training that is worth the start. It is a guess: no card has measured what compiling takes there."""
MOST_GRAPHS = 8
"""Graphs of a kind of layer, of which the next shape would make another one; the layer is computed as it is then."""
FACT = "compiled layers"


class CompiledLayers:
    """The layers of a model that checkpointing would repeat, each compiled; `used` is where they are taken.

    Args:
        model: in the place and in the precision of its training.
    """

    def __init__(self, model: Any) -> None:
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.layers = [part for part in plain.get_decoder().modules() if isinstance(part, GradientCheckpointingLayer)]
        for layer in self.layers:
            _without_hub_kernels(layer)
        self.kinds = {_kind(layer): layer for layer in reversed(self.layers)}
        self.before = _graphs()
        self._calls: list[Any] = []
        for told in (
            "The .grad attribute of a Tensor that is not a leaf",
            ".*autograd.function.Function.*instantiated",
        ):
            warnings.filterwarnings("ignore", message=told)  # of what torch does itself while it traces

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute the compiled layers meanwhile."""
        if not self._calls:
            self._calls = [_compiled_call(layer) for layer in self.layers]
        for layer, call in zip(self.layers, self._calls, strict=True):
            layer._compiled_call_impl = call  # noqa: SLF001 - torch's own switch has no way back
        try:
            with self._bounded():
                yield
        finally:
            for layer in self.layers:
                layer._compiled_call_impl = None  # noqa: SLF001 - as above

    @property
    def fact(self) -> str:
        """How many layers there are, and graphs so far."""
        return f"{count(len(self.layers), 'layer')}, {count(_graphs() - self.before, 'graph')}"

    def problem(self, passes: Sequence[Callable[[], None]], autocast: Callable[[], AbstractContextManager[Any]]) -> str:
        """Say why the layers stay as they are; empty if compiled ones give the same.

        Args:
            passes: take rows of two lengths through the model and back.
            autocast: the context of a pass.
        """
        if not self.layers:
            return "the model has no layers that transformers knows as such"
        captured = [self._inputs(make) for make in passes]
        for number, layer in enumerate(self.kinds.values()):
            calls = [inputs[number][1:] for inputs in captured if len(inputs) > number]
            try:
                problem = self._difference(layer, calls, autocast)
            except Exception as error:  # noqa: BLE001 - a graph break, no compiler, a kernel that does not fit the card
                problem = "no memory to compare it" if is_out_of_memory(error) else _explanation(error)
            if problem:
                return f"{type(layer).__name__}: {problem}"
        return ""

    def _inputs(self, make: Callable[[], None]) -> Captured:
        """Return what a pass gives a layer of each kind."""
        captured: Captured = []

        def capture(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            captured.append((layer, inputs, options))

        hooks = [layer.register_forward_pre_hook(capture, with_kwargs=True) for layer in self.kinds.values()]
        try:
            make()
        finally:
            for hook in hooks:
                hook.remove()
        first = {id(call[0]): call for call in reversed(captured)}  # checkpointing repeats them
        return [first[id(layer)] for layer in self.kinds.values() if id(layer) in first]

    def _difference(self, layer: Any, calls: list[Any], autocast: Callable[[], AbstractContextManager[Any]]) -> str:
        dtype = next((part.compute_dtype for part in parts_in_4_bits(layer)), next(layer.parameters()).dtype)
        own, exact = copied(layer, dtype), copied(layer, torch.float32)
        compiled = copied(layer, dtype)
        compiled.compile(dynamic=True, backend=BACKEND, fullgraph=True)
        before = _graphs()
        for inputs, options in calls:
            wanted = _results(exact, inputs, options, nullcontext(), torch.float32)
            eager = distance(_results(own, inputs, options, autocast(), None), wanted)
            with self._bounded():
                made = distance(_results(compiled, inputs, options, autocast(), None), wanted)
            if not made <= max(_rounding(dtype, layer, autocast), 2 * eager):
                return f"compiled it differs by {made:.1g}, else by {eager:.1g}"
        if (graphs := _graphs() - before) > len(calls):
            return f"{graphs} graphs for {len(calls)} lengths"
        return ""

    def _bounded(self) -> AbstractContextManager[Any]:
        """Bound the graphs of all layers together, which torch counts as those of one function."""
        limit: AbstractContextManager[Any] = torch._dynamo.config.patch(  # noqa: SLF001 - no other way to bound them
            recompile_limit=MOST_GRAPHS * max(1, len(self.kinds))
        )
        return limit


def _without_hub_kernels(layer: nn.Module) -> None:
    """Let the parts of a layer compute what their classes say.

    Since transformers 5.25 the library `kernels` wraps the forward passes of attention to pass on kernels from the Hub,
    which no model has here (see `load/loading.py`). torch does not compile such a wrapper inside of checkpointing.
    """
    for part in layer.modules():
        forward: Any = type(part).forward
        if getattr(forward, "__globals__", {}).get("__name__", "").startswith("kernels."):
            part.forward = MethodType(forward.__wrapped__, part)


def refusal(switch: Switch, device: str, steps: int, *, draws: bool, along_blocks: bool) -> str:
    """Say why layers are not compiled, before anything is tried; empty if they may be.

    Args:
        switch: `trainer.torch_compile`.
        device: cpu or cuda.
        steps: of the training.
        draws: whether a step draws the answers that it learns.
        along_blocks: whether attention goes along branches in blocks of other shapes in each pass, as on a CPU.
    """
    if switch is Switch.disabled:
        return "trainer.torch_compile=disabled"
    if switch is Switch.auto and device == "cpu":
        return "on a CPU it was slower"
    if draws:
        return "answers are drawn in the steps, so there is no pass to compare before"
    if along_blocks:
        return "on a CPU attention along branches has other shapes in each pass"
    if device == "cuda" and find_spec("triton") is None:
        return "triton is not installed"
    if switch is Switch.auto and steps < WORTH_STEPS:
        return f"{count(steps, 'step')}, and its start is worth it from {WORTH_STEPS} on"
    return ""


def _explanation(error: Exception) -> str:
    """Return what torch says of a graph break, or the first line of another error."""
    lines = (line.strip() for line in str(error).splitlines())
    explained = next((line for line in lines if line.startswith("Explanation: ")), "")
    return f"graph break, {explained.removeprefix('Explanation: ')}" if explained else summarize_error(error)


def _graphs() -> int:
    """Return how many graphs torch has made in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])  # noqa: SLF001 - nothing public counts them


def _compiled_call(layer: Any) -> Any:
    layer.compile(dynamic=True, backend=BACKEND)
    return layer._compiled_call_impl  # noqa: SLF001 - torch's own switch has no way back


def _rounding(dtype: torch.dtype, layer: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]) -> float:
    """Return how far results may lie apart, as a share of their size."""
    device = next(layer.parameters()).device.type
    with autocast():
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
    return ROUNDINGS * torch.finfo(dtype).eps if torch.finfo(dtype).bits <= HALF_BITS else TOLERANCE


def _kind(layer: nn.Module) -> tuple[Any, ...]:
    """Return what layers have in common that one proof is for."""
    settings = ("layer_type", "attention_type", "sliding_window", "is_sliding", "use_rope")
    return tuple(
        (name, type(part), *(str(getattr(part, setting, None)) for setting in settings))
        for name, part in layer.named_modules()
    )


def _results(
    layer: Any, inputs: Any, options: Any, context: AbstractContextManager[Any], dtype: torch.dtype | None
) -> Results:
    """Return what a layer gives, and the gradients of what it reads and, as one, of its trained weights."""
    (states, *rest), options = _as(inputs, dtype), _as(options, dtype)
    states.requires_grad_()
    with torch.inference_mode(mode=False), torch.enable_grad(), context:
        out = layer(states, *rest, **options)
        out = out[0] if isinstance(out, tuple) else out
        above = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    of_states, *of_weights = torch.autograd.grad(out, [states, *trained], above, allow_unused=True)
    flat = [gradient.float().flatten() for gradient in of_weights if gradient is not None]
    return [out.detach(), of_states, *([torch.cat(flat)] if flat else [])]


def _as(value: Any, dtype: torch.dtype | None) -> Any:
    """Return tensors apart from what they were made by, of floats in a dtype."""
    if isinstance(value, Tensor):
        value = value.detach()
        return value.to(dtype) if dtype and value.is_floating_point() else value.clone()
    if isinstance(value, tuple | list):
        return type(value)(_as(part, dtype) for part in value)
    return {name: _as(part, dtype) for name, part in value.items()} if isinstance(value, dict) else value
