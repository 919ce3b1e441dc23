"""hf/loss/loss.py: in every packing, loss and gradients are those of the rows one at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.utils._pytree import tree_map
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from framework.api.records import IGNORE, TokenRow
from framework.util.errors import FrameworkError
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.loss.chunked_cross_entropy import (
    CPU_LOGITS,
    FEWEST_LOGITS,
    Head,
    summed_cross_entropy,
    summed_cross_entropy_of_logits,
)
from framework_plugins.hf.loss.loss import WITHIN_FORWARD, Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.packing.tree_states import use_tree_states
from framework_plugins.hf.settings.config import Packing
from tests.plugins.hf.packing import drawn
from tests.support.examples import examples
from tests.support.tiny import tiny_llama

TOLERANCE = 1e-5
"""Of loss and of every gradient, in fp32, as a share of its size."""
FEW = 7 * 2 * drawn.VOCABULARY
"""Logits of seven tokens."""
Made = tuple[float, dict[str, torch.Tensor]]


def build(folder: Path, kind: str) -> Any:
    """Return a model as it is trained: plain, with LoRA, or with LoRA and the layers of `fused_layers`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    use_tree_states(model)
    if kind == "full":
        install.use_branches(model)
        return model.train()
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if kind == "fast":
        install.use_branches(model)
    torch.manual_seed(0)
    model = get_peft_model(model, config)
    if kind == "fast":
        install.install(model)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


def reference(model: Any, rows: list[TokenRow]) -> Made:
    """Take the rows one at a time through the model as transformers has it; the loss in fp64 of its logits.

    torch's own cross entropy is off by 1e-5 in fp32: its exponential is a quick one.
    """
    model.zero_grad()
    total = 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        loss = functional.cross_entropy(logits.double(), torch.tensor(row.labels[1:]), reduction="sum")
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradients(model)


def packed(model: Any, losses: Losses, packer: Packer, rows: list[TokenRow]) -> Made:
    model.zero_grad()
    total = 0.0
    for part in packer(rows):
        loss = losses.sum(part)
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradients(model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(made: Made, wanted: Made) -> None:
    assert made[0] == pytest.approx(wanted[0], rel=TOLERANCE)
    assert made[1].keys() == wanted[1].keys()
    whole = torch.stack([part.norm() for part in wanted[1].values()]).norm()
    for name, part in wanted[1].items():
        # What is 0 but for rounding, the gradient of a key bias say, is measured by the whole.
        scale = max(float(part.norm()), 1e-2 * float(whole))
        assert float((made[1][name] - part).norm()) <= TOLERANCE * scale, name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Losses]]:
    folder = tiny_llama(tmp_path_factory.mktemp("model"))
    made = {}
    for kind in ("plain", "fast", "full"):
        model = build(folder, kind)
        losses = probe(Losses(model.eval(), Packing.tree, dense_mask=kind == "plain"))
        assert losses.packing is Packing.tree
        assert losses.dense_mask == (kind == "plain")
        assert losses.head is not None
        made[kind] = (model.train(), losses)
    return made


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=drawn.rows(), size=st.integers(1, 8), kind=st.sampled_from(["plain", "fast", "full"]))
def test_loss_and_every_gradient_are_those_of_one_row_at_a_time(
    models: dict[str, tuple[Any, Losses]], rows: list[TokenRow], size: int, kind: str
) -> None:
    model, losses = models[kind]
    wanted = reference(model, rows)
    for packing in Packing:
        packer = Packer(packing, size, 0, dense_mask=losses.dense_mask)
        assert_same(packed(model, losses, packer, rows), wanted)


def row_by_row(
    module: torch.nn.Module, query: Any, key: Any, value: Any, mask: Any, *, scaling: float, **more: Any
) -> tuple[torch.Tensor, None]:
    """Do what flash attention does: what is between two starts attends to itself."""
    del module, mask
    length = query.shape[2]
    starts = more.get("cu_seq_lens_q", torch.tensor([0, length])).tolist()
    assert max(starts[1:]) == length
    assert more.get("max_length_q", length) == max(end - start for start, end in pairwise(starts))
    parts = [[each[:, :, start:end] for each in (query, key, value)] for start, end in pairwise(starts)]
    outs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in parts
    ]
    return torch.cat(outs, 2).transpose(1, 2), None


def test_flash_attention_is_told_where_rows_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(tiny_llama(tmp_path), "plain")
    model.config._attn_implementation = "flash_attention_2"  # noqa: SLF001 - no public name
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", row_by_row)
    losses = probe(Losses(model.eval(), Packing.tree, dense_mask=False, share=False))
    assert (losses.packing, losses.dense_mask, losses.problem) == (Packing.tree, False, "")
    rows = drawn.make(5, 6, 90)
    made = packed(model.train(), losses, Packer(Packing.tree, 3, 0, share=False), rows)
    assert_same(made, reference(model, rows))
    wrong = Losses(model.eval(), Packing.tree, dense_mask=False, share=True)  # it has no starts for a shared beginning
    assert probe(wrong).packing is Packing.pad


def test_a_tree_is_the_same_with_checkpointing(tmp_path: Path) -> None:
    model = build(tiny_llama(tmp_path), "fast")
    losses = probe(Losses(model.eval(), Packing.tree, dense_mask=False))
    model.train()
    rows = drawn.make(5, 6, 120)
    wanted = reference(model, rows)
    plain = model.get_base_model()
    new = hasattr(plain, "activation_checkpointing_enable")  # the name since transformers 5.24
    enable = plain.activation_checkpointing_enable if new else plain.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    assert_same(packed(model, losses, Packer(Packing.tree, 6, 0), rows), wanted)


SMALL: dict[str, Any] = {
    "vocab_size": drawn.VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
CHANGED: dict[str, tuple[PreTrainedConfig, tuple[float, float]]] = {
    "granite": (GraniteConfig(**SMALL, logits_scaling=8.0), (1 / 8, 0.0)),
    "cohere": (CohereConfig(**SMALL, logit_scale=0.25), (0.25, 0.0)),
    "gemma2": (
        Gemma2Config(
            **SMALL,
            final_logit_softcapping=0.5,
            layer_types=["full_attention"] * 2,
            initializer_range=0.2,
            attn_logit_softcapping=None,
        ),
        (1.0, 0.5),
    ),
}
"""Models that scale or cap their logits, with scale and cap."""


def saved(folder: Path, config: PreTrainedConfig) -> Path:
    """Write a random model."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CHANGED)
def test_logits_that_are_scaled_or_capped_are_made_a_few_at_a_time_too(tmp_path: Path, name: str) -> None:
    config, made = CHANGED[name]
    model = build(saved(tmp_path, config), "fast")
    losses = probe(Losses(model.eval(), Packing.tree, dense_mask=False))
    assert losses.head is not None
    assert (losses.head.scale, losses.head.cap) == made
    model.train()
    rows = drawn.make(7, 6, 120)
    wanted = reference(model, rows)
    for packing in Packing:
        for losses.logits_at_once in (CPU_LOGITS, FEW):
            assert_same(packed(model, losses, Packer(packing, 3, 0), rows), wanted)
    logits = [
        logits for _, logits in losses.logit_chunks(losses.states_or_logits(Packer(Packing.none, 1, 0)(rows[:1])[0]))
    ]
    whole = model(input_ids=torch.tensor([rows[0].input_ids])).logits[0]
    learned = [at - 1 for at, label in enumerate(rows[0].labels) if label != IGNORE and at]
    torch.testing.assert_close(torch.cat(logits), whole[learned], rtol=1e-5, atol=1e-5)


def test_a_cap_that_small_logits_hardly_feel_is_seen_in_16_bits(tmp_path: Path) -> None:
    config, _ = CHANGED["gemma2"]
    config.final_logit_softcapping = 30.0
    model = AutoModelForCausalLM.from_pretrained(saved(tmp_path, config), dtype=torch.bfloat16).eval()
    losses = probe(Losses(model, Packing.pad, dense_mask=True))
    assert losses.head is not None
    assert losses.head.cap == 30


class Positions(LlamaForCausalLM):
    """A Llama that makes logits in its own way, and takes `logits_to_keep` as a class says."""

    factor = 1.7
    """No config names it."""
    keeps = ""

    def forward(self, *ids: Any, logits_to_keep: Any = 0, **named: Any) -> Any:
        out = super().forward(*ids, **named)
        out.logits = out.logits * self.factor
        if self.keeps == "as many" and isinstance(logits_to_keep, torch.Tensor):
            out.logits = out.logits[:, -len(logits_to_keep) :]
        return out


class Plain(Positions):
    """Ignores it, and its head gives its logits."""

    factor = 1.0


class AsMany(Positions):
    """Takes its length, and gives the last positions."""

    keeps = "as many"


@pytest.mark.parametrize("kind", [Positions, Plain, AsMany])
def test_a_model_that_takes_no_positions_is_trained_on_the_right_ones(tmp_path: Path, kind: type[Positions]) -> None:
    torch.manual_seed(0)
    model = kind.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32).eval()
    losses = probe(Losses(model, Packing.tree, dense_mask=True))
    assert losses.packing is Packing.tree
    assert (losses.head is not None) == (kind is Plain)
    assert losses.selects_logits == (kind is not AsMany)
    model.train()
    rows = drawn.make(7, 6, 120)
    wanted = reference(model, rows)
    for packing in Packing:
        assert_same(packed(model, losses, Packer(packing, 3, 0, dense_mask=True), rows), wanted)
    assert bool(losses.fewer_logits()) == (kind is Plain)  # else there is nothing to make smaller
    for row in rows:  # as scores and divergences read them
        (part,) = Packer(Packing.none, 1, 0)([row])
        with torch.no_grad():
            logits = torch.cat([logits for _, logits in losses.logit_chunks(losses.states_or_logits(part))])
            whole = model(input_ids=part["input_ids"]).logits[0, part["source"]]
        torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)


def test_logits_of_other_positions_are_refused(tmp_path: Path) -> None:
    model = Positions.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32).eval()
    losses = probe(Losses(model, Packing.pad, dense_mask=True))
    model.keeps = "as many"
    part = Packer(Packing.pad, 3, 0)(drawn.make(7, 6, 120))[-1]
    part["source"] = part["source"][:2]
    losses.states_or_logits(part)
    losses.selects_logits = False
    model.forward = lambda **_: CausalLMOutputWithPast(logits=torch.zeros(3, 1, 8))
    with pytest.raises(FrameworkError, match=r"^Positions gives the logits of 1 of \d+ tokens where 2 were asked for"):
        losses.states_or_logits(part)


class Whole(torch.nn.Module):
    """Stands for an engine, whose hooks are around the forward pass of the whole model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.within = 0

    def forward(self, **inputs: Any) -> Any:
        self.within += 1
        out = self.model(**inputs)
        self.within -= 1
        return out


@pytest.mark.parametrize("name", [*CHANGED, "llama"])
def test_a_group_makes_few_logits_within_the_models_own_forward_pass(tmp_path: Path, name: str) -> None:
    folder = tiny_llama(tmp_path) if name == "llama" else saved(tmp_path, CHANGED[name][0])
    model = build(folder, "plain")
    # Whether gemma2 takes an attention with trees by itself differs by version of transformers.
    packing = probe(Losses(model.eval(), Packing.tree, dense_mask=True)).packing if name == "gemma2" else Packing.tree
    losses = Losses(model.eval(), Packing.tree, dense_mask=True)
    losses.prepare_for_engine()
    engine = Whole(model)
    losses.attach_engine(engine, torch.device("cpu"))
    probe(losses)
    assert losses.head is not None
    assert losses.packing is packing
    outside = []
    losses.body.register_forward_pre_hook(lambda *_: outside.append(engine.within == 0))
    losses.head.linear.register_forward_pre_hook(  # otherwise all logits at once
        lambda _, __, named: outside.append(engine.within == 0 or WITHIN_FORWARD not in named), with_kwargs=True
    )
    model.train()
    rows = drawn.make(7, 6, 120)
    for packing in {Packing.none, Packing.pad, losses.packing}:
        made = packed(model, losses, Packer(packing, 3, 0, dense_mask=True), rows)
        assert not any(outside)
        with torch.no_grad():
            wanted = sum(float(losses.sum(part)) for part in Packer(Packing.none, 1, 0)(rows))
        assert made[0] == pytest.approx(wanted, rel=TOLERANCE)
    assert outside
    outside.clear()
    assert_same(made, reference(model, rows))
    assert any(outside)  # by itself the model is as it was


def test_a_group_makes_as_many_logits_at_a_time_as_its_device_takes_wherever_weights_were_read(tmp_path: Path) -> None:
    losses = Losses(build(tiny_llama(tmp_path), "plain").to("meta"), Packing.pad, dense_mask=True)
    assert losses.logits_at_once != CPU_LOGITS
    losses.attach_engine(losses.model, torch.device("cpu"))
    assert losses.logits_at_once == CPU_LOGITS


class Casting(Whole):
    """Casts what a model gives to 16 bits, as FSDP2 does where it computes in 16 bits."""

    def forward(self, **inputs: Any) -> Any:
        return tree_map(self.cast, super().forward(**inputs))

    @staticmethod
    def cast(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(torch.bfloat16) if floats else value


def test_the_loss_of_a_group_keeps_its_digits_where_an_engine_casts_to_16_bits(tmp_path: Path) -> None:
    model = build(tiny_llama(tmp_path), "plain")
    part = Packer(Packing.pad, 6, 0)(drawn.make(7, 6, 120))[0]
    alone = probe(Losses(model.eval(), Packing.pad, dense_mask=True))
    wanted = alone.mean(part)
    expected = torch.autograd.grad(wanted, [weight for weight in model.parameters() if weight.requires_grad])
    losses = Losses(model, Packing.pad, dense_mask=True)
    losses.prepare_for_engine()
    losses.apply_probe(alone.probe_result)
    losses.attach_engine(Casting(model), torch.device("cpu"))
    assert losses.head is not None
    losses.head.linear.register_forward_hook(lambda _, __, out: Casting.cast(out))
    found = losses.mean(part)
    assert found.dtype is torch.float32
    assert float(found.detach()) == float(wanted.detach())
    made = torch.autograd.grad(found, [weight for weight in model.parameters() if weight.requires_grad])
    for one, two in zip(made, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_the_loss_of_few_logits_at_a_time_is_the_same(models: dict[str, tuple[Any, Losses]], kind: str) -> None:
    model, losses = models[kind]
    rows = drawn.make(11, 8, 200)
    packer = Packer(Packing.tree, 8, 0, dense_mask=losses.dense_mask)
    whole = packed(model, losses, packer, rows)
    losses.logits_at_once = FEW
    made = packed(model, losses, packer, rows)
    losses.logits_at_once = CPU_LOGITS
    assert_same(made, whole)


def test_logits_get_fewer_until_they_are_few(models: dict[str, tuple[Any, Losses]]) -> None:
    _, losses = models["plain"]
    told = [losses.fewer_logits() for _ in range(3)]
    assert told == ["the loss of 8 MiB of logits at a time", "the loss of 2 MiB of logits at a time", ""]
    assert losses.logits_at_once == FEWEST_LOGITS
    losses.logits_at_once = CPU_LOGITS


def test_a_probe_leaves_the_temperature_of_drawn_answers_as_it_is(models: dict[str, tuple[Any, Losses]]) -> None:
    """In a group of processes the probe comes after it."""
    model, losses = models["plain"]
    cool = losses.at_temperature(0.5)
    (part,) = Packer(Packing.pad, 3, 0)(drawn.make(5, 3, 40))
    before = cool.log_probs(part)[0]
    probe(cool)
    cool.apply_probe(cool.probe_result)
    assert torch.equal(cool.log_probs(part)[0], before)
    with torch.no_grad():
        logits = losses.pick_learned(part, model(**losses.inputs(part), use_cache=False).logits)
    wanted = (logits / 0.5).log_softmax(-1).gather(1, part["target"][:, None])[:, 0]
    torch.testing.assert_close(before.detach(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("headed", [True, False])
def test_a_large_weight_below_zero_does_not_overflow_in_fp16(*, headed: bool) -> None:
    """Gradients are raised by the largest weight of either sign: a rejected answer may have the largest."""
    seeded = torch.Generator().manual_seed(0)
    states, weight = torch.randn(6, 8, generator=seeded), torch.randn(50, 8, generator=seeded)
    target, share = torch.arange(6), torch.tensor([0.5, 0.5, 0.5, -200.0, -200.0, -200.0])

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        linear = torch.nn.Linear(8, 50, bias=False).to(dtype)
        linear.weight.data.copy_(weight)
        given = (states if headed else states @ weight.t()).to(dtype).requires_grad_()
        summed = (
            summed_cross_entropy(given, Head(linear), target, share)
            if headed
            else summed_cross_entropy_of_logits(given + 0, target, share)
        )
        (found,) = torch.autograd.grad(summed, given)
        return found.float()

    torch.testing.assert_close(gradient(torch.float16), gradient(torch.float32), rtol=0.02, atol=0.5)


class Leaky(torch.nn.Module):
    """An embedding that adds to each token what is before it in the sequence, whatever its branch."""

    def __init__(self, plain: torch.nn.Embedding) -> None:
        super().__init__()
        self.plain = plain
        self.weight = plain.weight
        self.num_embeddings = plain.num_embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.plain(ids)
        return states + functional.pad(states, (0, 0, 1, 0))[:, :-1]


def test_a_model_in_which_tokens_of_other_rows_leak_falls_back_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32).eval()
    model.set_input_embeddings(Leaky(model.get_input_embeddings()))
    losses = probe(Losses(model, Packing.tree, dense_mask=True))
    assert losses.packing is Packing.pad
    assert losses.packing_fallback == "pad (with shared prefixes the model computes different states)"
    assert "trainer.packing=pad instead of tree: with shared prefixes" in caplog.text


def test_a_model_that_does_not_attend_along_branches_gets_a_dense_mask_and_says_so(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32).eval()
    losses = probe(Losses(model, Packing.tree, dense_mask=False))
    assert losses.dense_mask
    assert (
        losses.packing_fallback == "tree with a dense mask (with shared prefixes the model computes different states)"
    )
    assert probe(Losses(model, Packing.tree, dense_mask=True)).packing_fallback == ""
