"""hf/settings/memory_plan.py: what the plan says that a layer keeps of a token on a CPU, beside what autograd keeps."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from weakref import WeakSet

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from framework.api import Gpu
from framework.api.protocols import ModelPlace
from framework.api.records import TokenRow
from framework.memory import Attention, Shape
from framework.memory.terms import layer
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.load.adapt_model import with_adapter
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.machine.precision import plain_lora
from framework_plugins.hf.packing.parts import padded_batch, tree_batch
from framework_plugins.hf.packing.tree import build_tree
from framework_plugins.hf.settings.memory_plan import footprint, plan_passes
from tests.plugins.hf.settings.test_memory_plan import plan
from tests.support.bases import needs_states

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "model_type": "llama",
}
DROPOUT, PAD, NONE, NF4 = "adapter.lora_dropout=0.1", "trainer.packing=pad", "trainer.packing=none", "quantization=nf4"
INT8, UP = "quantization=int8", "adapter.target_modules=[q_proj,up_proj]"
QV, ATTENTION = (f"adapter.target_modules=[{names}]" for names in ("q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj"))


@dataclass(eq=False)
class Saved:
    """What autograd saves of a tensor, for as long as it does."""

    tensor: torch.Tensor


def kept(words: tuple[str, ...], layers: int, length: int) -> tuple[int, int]:
    """Return the bytes that autograd keeps of a pass besides the weights, and its tokens."""
    made = plan(*words)
    half, lora = "trainer.dtype=bf16" in words, trained_config(made)
    fast = lora is not None and INT8 not in words
    dtype = torch.bfloat16 if half and lora else torch.float32
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, num_hidden_layers=layers)).to(dtype)
    tree = not {PAD, NONE} & {*words}
    if tree:
        install.use_branches(model)
    whole = with_adapter(model, lora, ModelPlace(made.run_dir, "tiny")) if lora else model
    if fast:
        install.install(whole)
    lengths = [length] if NONE in words else [length, length // 2]
    rows = [TokenRow([(7 * row + 3 * at) % 499 for at in range(size)], [1] * size) for row, size in enumerate(lengths)]
    part = tree_batch(build_tree(rows), dense_mask=False) if tree else padded_batch(rows, 0)
    weights = {weight.untyped_storage().data_ptr() for weight in whole.parameters()}
    saved = WeakSet[Saved]()

    def pack(tensor: torch.Tensor) -> Saved:
        saved.add(one := Saved(tensor))
        return one

    inputs = {name: part[name] for name in ("input_ids", "attention_mask", "position_ids", "branches") if name in part}
    autocast = torch.autocast("cpu", torch.bfloat16) if half and not fast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor), autocast:
        out = model.train().model(**inputs)
    storages = {(storage := one.tensor.untyped_storage()).data_ptr(): storage.nbytes() for one in saved}
    del out  # until here it holds what is kept
    return sum(size for place, size in storages.items() if place not in weights), part["input_ids"].numel()


def on_gpu(words: tuple[str, ...], layers: int, length: int) -> tuple[int, bool]:
    """Return what is kept of one row by the layers that a GPU has, and whether they are fused."""
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, num_hidden_layers=layers)).to(torch.bfloat16)
    made = plan(*words)
    whole = with_adapter(model, trained_config(made), ModelPlace(made.run_dir, "tiny"))
    install.install(whole, along_branches=False)
    for part in plain_lora(whole):  # as `rounded_once` has it on a GPU
        part.cast_input_dtype_enabled = False
    weights = {weight.untyped_storage().data_ptr() for weight in whole.parameters()}
    storages: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model.train().model(input_ids=torch.arange(length)[None] + 3)
    return sum(size for place, (size, _) in storages.items() if place not in weights), install.keeps_less(whole)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "words",
    [(), (NONE,), (PAD,), (QV,), (ATTENTION,), (PAD, DROPOUT), ("adapter=dora",), ("adapter=full",), (NF4,), (INT8,)],
    ids=" ".join,
)
def test_a_layer_keeps_on_a_cpu_what_is_planned(words: tuple[str, ...], dtype: str) -> None:
    """Of layers and tokens the difference between two sizes: what each pass has once does not count."""
    words, shape = (*words, f"trainer.dtype={dtype}"), Shape.from_config({**CONFIG, "num_hidden_layers": 2})
    measured, planned = 0.0, 0.0
    for length, sign in ((192, 1), (64, -1)):
        (one, _), (two, tokens) = kept(words, 2, length), kept(words, 3, length)
        measured += sign * (two - one)
        planned += sign * tokens * footprint(plan(*words), shape, None, length, 0).activation_bytes
    assert planned == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("words", [(), (DROPOUT,), (QV,), (UP,)], ids=" ".join)
def test_a_layer_keeps_on_a_gpu_what_is_counted_if_it_is_fused_and_else_no_more(words: tuple[str, ...]) -> None:
    """By the dtypes of a GPU, with autocast: sdpa of a CPU keeps what a GPU's kernel does, and a number for each head.

    The plan leaves that out, and the low-rank products and one number for each norm.
    """
    words, shape = (*words, NONE), Shape.from_config({**CONFIG, "num_hidden_layers": 2})
    measured, tokens, fused = 0, 128, True
    for length, sign in ((64 + tokens, 1), (64, -1)):
        (one, _), (two, fused) = on_gpu(words, 2, length), on_gpu(words, 3, length)
        measured += sign * (two - one)
    gpu, made = Gpu("card", 24 * 2**30, 24 * 2**30), plan(*words, "trainer.dtype=bf16")
    _, settings = plan_passes(made, shape, gpu, tokens, 0, fused=fused)
    settings = replace(settings, rows=1, length=tokens, masked=False, attention=Attention.grouped)
    (block,) = shape.counts
    planned = sum(layer(shape, block, settings)) + tokens * (2 * 16 * len(settings.targets) + 2 * 4 + 4 * 4)
    if fused:
        assert planned == pytest.approx(measured, rel=0.001)
    else:
        assert planned > measured
    assert fused == (words[0] in {NONE, DROPOUT})


MIXERS = {
    "linear attention": ("qwen3_5_text", {"linear_num_key_heads": 2, "linear_num_value_heads": 4}),
    "state space": ("granitemoehybrid", {"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 64,
                                         "mamba_chunk_size": 64}),
}  # fmt: skip


@needs_states  # an older one computes them in other steps
@pytest.mark.parametrize("kind", MIXERS)
def test_a_layer_without_its_kernel_keeps_what_is_planned(kind: str) -> None:
    """On a CPU too, whose code in plain torch is the one that a GPU without the kernel runs."""
    family, sizes = MIXERS[kind]
    config = CONFIG_MAPPING[family](
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, layer_types=["linear_attention", "full_attention"],
        **sizes,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).requires_grad_(False)  # noqa: FBT003 - torch
    mixer = next(part for part in model.modules() if hasattr(part, "A_log"))
    (block,) = (block for block in Shape.from_config(config.to_dict()).counts if block.kernel)
    states = torch.randn(1, 512, 128, dtype=torch.bfloat16, requires_grad=True)
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = mixer(hidden_states=states)
    weights = {weight.untyped_storage().data_ptr() for weight in mixer.parameters()}
    kept = sum(size for place, size in storages.items() if place not in weights) / 512
    del out
    assert 4 * block.unfused == pytest.approx(kept, rel=0.1)
