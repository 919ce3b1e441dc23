"""hf/settings/memory_plan.py: how `trainer=hf` uses memory, as the plan has it."""

import dataclasses
import json
import math
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from framework.api.plan import Plan
from framework.api.records import TokenRow
from framework.memory import Attention, Loss, MemorySettings, Shape, Weights, estimate
from framework.memory.shape import LINEARS
from framework.plan.fit import changed
from framework.plan.make import make_plan
from framework.testing import compose
from framework.util.gpus import CONTEXT, Gpu, named
from framework.util.host import GIB
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings import attention as attention_choice
from framework_plugins.hf.settings import memory_plan
from framework_plugins.hf.settings.config import CPU_DTYPE, Packing
from framework_plugins.hf.settings.memory_plan import footprint, plan_passes
from framework_plugins.hf.settings.pass_size import GPU_PASS_TOKENS, MIN_KEPT_TOKENS, PASS_STEP, PassLimits
from framework_plugins.hf.settings.planned_weights import targets
from framework_plugins.hf.settings.reductions import reductions
from tests.framework.memory.test_shape import SMOLLM

SHAPE = Shape.from_config(SMOLLM)
GPU = named("rtx4090")
EIGHT = ("launch.processes=8", "plan.gpu=24GiB", "stages=[plan]")
"""Words that plan for eight processes."""


def plan(*words: str) -> Plan:
    return make_plan(compose(["model=llama1b", "data=local_file", "data.path=x.jsonl", *words]), run_dir=Path("unused"))


def settings(
    *words: str, gpu: Gpu | None = GPU, longest: int = 256, shared: int = 0, mean: int | None = None
) -> MemorySettings:
    return footprint(plan(*words), SHAPE, gpu, longest, shared, mean)


def test_lora_on_a_gpu_keeps_the_base_in_16_bits_and_the_adapter_in_32() -> None:
    made = settings("adapter.r=8")
    assert (made.weights, made.rank, made.trained_width, made.state_bytes) == (Weights.half, 8, 4, 8.0)
    assert (made.tokens, made.loss, made.chunk) == (2 * 4 * 256, Loss.learned, 2**28)
    assert not made.masked
    assert not made.varied


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["quantization=nf4"], "weights", Weights.nf4),
        (["quantization=nf4"], "trained_width", 4),
        (["quantization=int8", "trainer.dtype=bf16"], "trained_width", 4),
        (["quantization=nf4", "quantization.double_quant=false"], "double_quant", False),
        (["quantization=int8"], "weights", Weights.int8),
        (["adapter=full"], "weights", Weights.fp32),
        (["adapter=full"], "rank", 0),
        (["trainer.dtype=fp32"], "weights", Weights.fp32),
        (["optimizer=adamw_8bit"], "state_bytes", 2.0),
        (["optimizer=paged_adamw_8bit"], "state_bytes", 0.0),
        (["trainer.gradient_checkpointing=disabled"], "checkpointing", False),
        (["trainer.attention=eager"], "attention", Attention.eager),
        (["trainer.packing=none"], "rows", 1),
        (["trainer.packing=pad"], "varied", True),
        (["adapter.lora_dropout=0.1"], "dropout", True),
        (["adapter=dora"], "magnitudes", True),
        (["trainer.packing=pad"], "masked", True),
        (["trainer.packing=none"], "masked", False),
        (["trainer.packing=none"], "attention", Attention.grouped),
        (["trainer.attention=flash_attention_2"], "masked", False),
        (["trainer.attention=sdpa"], "masked", True),
        (["trainer.attention=sdpa", "adapter.lora_dropout=0.1"], "masked", True),
        (["trainer.attention=sdpa", "adapter.lora_dropout=0.1"], "varied", True),
        (["adapter.lora_dropout=0.1"], "varied", False),
        (["trainer.attention=flash_attention_2"], "varied", False),
        (["evaluator=[prompts]", "trainer.answers_at_once=7"], "answer_rows", 7),
        (["evaluator=[prompts]", "evaluator.prompts.count=4"], "answer_rows", 4),
        ([*EIGHT, "launch=fsdp2"], "pieces", 8),
        ([*EIGHT, "launch=fsdp2", "launch.dp_shard_size=4"], "pieces", 4),
        ([*EIGHT, "launch=fsdp2", "launch.cpu_offload=true"], "offloaded_weights", True),
        ([*EIGHT, "launch=fsdp2"], "evaluated_on", 1),
        ([*EIGHT, "launch=fsdp2", "launch.evaluation=split"], "evaluated_on", 8),
        ([*EIGHT[:2], "launch=fsdp2", "launch.evaluation=split", "stages=[data,train]"], "evaluated_on", 0),
        ([*EIGHT, "launch=ddp"], "pieces", 1),
        ([*EIGHT, "launch=ddp"], "processes", 8),
        ([*EIGHT, "launch=ddp"], "loss", Loss.learned),
        ([*EIGHT, "launch=fsdp2"], "loss", Loss.learned),
    ],
)
def test_each_setting_is_read(words: list[str], name: str, value: object) -> None:
    assert getattr(settings(*words), name) == value


@pytest.mark.parametrize("longest", [300, 2048, 9000])
@pytest.mark.parametrize("words", [(), ("adapter.lora_dropout=0.1",), ("quantization=nf4", "trainer.packing=pad")])
@pytest.mark.parametrize("free", [0.9, 1.6, 3.0, 5.0, 60.0])
def test_passes_on_a_gpu_are_as_large_as_fit_and_keep_activations_up_to_a_size(
    free: float, words: tuple[str, ...], longest: int
) -> None:
    gpu, some = Gpu("a GPU", 2**40, round((free + CONTEXT) * GIB)), plan(*words)
    limits, needs = plan_passes(some, SHAPE, gpu, longest, 0)
    needs = dataclasses.replace(needs, answer_rows=0)  # which no pass waits for

    def fits(tokens: int, *, checkpointing: bool) -> bool:
        rows = math.ceil(tokens / longest) if "trainer.packing=pad" in words else 1
        made = dataclasses.replace(needs, rows=rows, length=math.ceil(tokens / rows), checkpointing=checkpointing)
        kernels = Attention.sdpa if rows > 1 else Attention.grouped
        made = dataclasses.replace(made, masked=rows > 1, attention=kernels)
        return estimate(SHAPE, made).high <= gpu.usable

    assert 0 < limits.tokens <= max(GPU_PASS_TOKENS, longest)
    whole = min(max(GPU_PASS_TOKENS, longest), 8 * longest)
    if limits.kept is None:  # so little fits that keeping it would take longer
        assert not fits(MIN_KEPT_TOKENS, checkpointing=False)  # nor all, where that is less
        assert limits.tokens == longest or fits(limits.tokens, checkpointing=True)
    else:
        assert limits.tokens == min(limits.kept, GPU_PASS_TOKENS, 8 * longest)
        assert fits(limits.kept, checkpointing=False)
        assert limits.kept >= whole or not fits(limits.kept + PASS_STEP, checkpointing=False)
    assert needs.tokens >= max(longest, limits.tokens) or not needs.checkpointing


@pytest.mark.parametrize(
    ("words", "room", "tokens"),
    [
        ((), 10**12, 1024),
        ((), 10**9, 0),  # rows as configured, where as many tokens may not fit
        (("trainer.gradient_accumulation_steps=1",), 10**12, 0),  # they are all of a step
        (("trainer.per_device_train_batch_size=11",), 10**12, 0),  # they are more
        (("trainer.packing=pad",), 10**12, 0),
        (("adapter.lora_dropout=0.1",), 10**12, 0),
        (("trainer.tokens_per_pass=512",), 10**12, 512),
    ],
)
def test_a_pass_on_a_cpu_has_1024_tokens_where_so_many_fit(
    words: tuple[str, ...], room: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_plan, "cpu_room", lambda: room)
    some = plan("trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=4", *words)
    limits, needs = plan_passes(some, SHAPE, None, 100, 60)
    assert limits.tokens == tokens
    assert needs.tokens == 60 + 8 * 40 or tokens != 1024
    assert plan_passes(some, SHAPE, None, 300, 0)[1].tokens == 1024 or tokens != 1024


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "FlexAttention with block masks for trees; sdpa instead if its check on the card fails"),
        (
            ("adapter.lora_dropout=0.05", "plan.gpu=rtx4090", "stages=[plan]"),
            "FlexAttention for rows side by side without padding, since adapter.lora_dropout=0.05 keeps them from "
            "sharing tokens; sdpa instead if its check on the card fails or triton is not installed there",
        ),
        (("trainer.packing=pad",), "sdpa, as trainer.packing=pad has it"),
        (("trainer.neftune_noise_alpha=5",), "sdpa with padding, since trainer.neftune_noise_alpha keeps rows apart"),
        (("trainer.attention=eager",), ""),
    ],
)
def test_the_attention_that_a_gpu_gets_is_told_with_its_reason(
    words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: ModuleSpec("triton", None))
    assert settings(*words).attention_choice == told
    assert settings(*words, gpu=None).attention_choice == ""
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: None)
    here = "plan.gpu=rtx4090" not in words
    assert ("since triton is not installed" in settings(*words).attention_choice) == (here and "Flex" in told)


def test_the_size_of_a_pass_that_is_asked_for_is_taken_anywhere() -> None:
    words = ("trainer.tokens_per_pass=1000", "trainer.dtype=bf16")
    assert plan_passes(plan(*words), SHAPE, GPU, 300, 0)[0] == PassLimits(1000, 1000)
    small = Gpu("a GPU", GIB, GIB)
    assert plan_passes(plan(*words), SHAPE, small, 300, 0)[0] == PassLimits(1000)
    for each in (named("h200"), None):
        group = ("launch=ddp", *EIGHT) if each else ()
        assert plan_passes(plan(*words, *group), SHAPE, each, 300, 0)[0] == PassLimits(1000)
    assert settings(*words, gpu=None, longest=300).tokens == 900
    assert settings(*words, "adapter.lora_dropout=0.1", gpu=None, longest=300).tokens == 900
    halves = [each.settings for each in reductions(plan(*words))]
    assert {"trainer.tokens_per_pass": 500} in halves
    assert not any("trainer.per_device_train_batch_size" in each for each in halves)


@pytest.mark.parametrize(
    ("words", "checkpointing"),
    [
        (["trainer.gradient_checkpointing=enabled"], True),
        (["trainer.gradient_checkpointing=disabled"], False),
        ([*EIGHT, "launch=ddp"], True),
    ],
    ids=["enabled", "disabled", "group"],
)
def test_who_chose_and_who_cannot_repeat_a_step_decide_by_themselves(words: list[str], *, checkpointing: bool) -> None:
    assert settings(*words, gpu=named("h200")).checkpointing is checkpointing


def test_logits_that_are_capped_are_not_kept_either() -> None:
    capped = Shape.from_config({**SMOLLM, "final_logit_softcapping": 30.0})
    assert footprint(plan(), capped, GPU, 256, 0).loss is Loss.learned


def test_a_cpu_counts_the_process_and_its_own_layers() -> None:
    half = "trainer.dtype=bf16"  # by itself only a processor with instructions for it trains in bf16
    made = settings(half, gpu=None)
    assert made.process > 500 * 2**20
    assert made.activation_bytes > 0
    assert not made.checkpointing
    assert made.heap > 0 == settings().heap
    assert settings("trainer.dtype=fp32", gpu=None).activation_bytes == 2 * made.activation_bytes
    assert settings("trainer.dtype=fp32", gpu=None).chunk > made.chunk
    assert (
        settings("trainer.dtype=fp32", gpu=None).process < made.process == settings(half, "trainer.device=cpu").process
    )


@pytest.mark.parametrize(("name", "stored"), [("fp32", Weights.fp32), ("bf16", Weights.half)])
def test_the_dtype_that_a_cpu_takes_by_itself_is_planned(
    monkeypatch: pytest.MonkeyPatch, name: str, stored: Weights
) -> None:
    monkeypatch.setenv(CPU_DTYPE, name)
    assert settings(gpu=None).weights is stored
    assert settings("adapter=full", gpu=None).autocast == (name == "bf16")
    assert settings("quantization=nf4", gpu=None).upcast == (name == "fp32")


@pytest.mark.parametrize(
    ("rows", "longest", "shared", "tokens"),
    [
        (4, 200, 0, 800),
        (16, 200, 0, 1000),
        (2, 1500, 0, 1500),
        (4, 540, 40, 2040),
        (4, 504, 24, 1944),
        (4, 100, 50, 250),
        (8, 135, 20, 940),
        (6, 180, 31, 925),
        (1, 100, 90, 100),
    ],
)
def test_a_tree_on_a_cpu_is_cut_as_the_packer_cuts_it(rows: int, longest: int, shared: int, tokens: int) -> None:
    words = [f"trainer.per_device_train_batch_size={rows}", "trainer.gradient_accumulation_steps=1"]
    assert settings(*words, gpu=None, longest=longest, shared=shared).tokens == tokens
    some = [
        TokenRow([*range(shared), *([1000 + number] * (longest - shared))], [1] * longest) for number in range(rows)
    ]
    packer = Packer(Packing.tree, rows, 0, 0.0, small_passes=True)
    assert max(part["input_ids"].numel() for part in packer(some)) - tokens in range(16)


def test_a_step_of_mixed_rows_may_be_one_pass_where_one_of_the_longest_is_cut() -> None:
    lengths = [54 + 194 * number // 15 for number in range(16)]
    some = [TokenRow([*range(24), *[1000 + number] * (size - 24)], [1] * size) for number, size in enumerate(lengths)]
    (whole,) = Packer(Packing.tree, 16, 0, 0.0, small_passes=True)(some)
    words = ["trainer.per_device_train_batch_size=16", "trainer.gradient_accumulation_steps=1"]
    longest, mean = max(lengths), sum(lengths) // len(lengths)
    planned, even = (settings(*words, gpu=None, longest=longest, shared=24, mean=each).tokens for each in (mean, None))
    assert planned == pytest.approx(whole["input_ids"].numel(), rel=0.02)
    assert even < planned / 2
    assert settings(*words, longest=longest, shared=24, mean=mean) == settings(*words, longest=longest, shared=24)


def test_adapted_layers_are_named_as_the_arithmetic_names_them() -> None:
    adapter = plan("adapter.target_modules=[q_proj,v_proj]").adapter.config
    assert targets(adapter, SHAPE) == ("q", "v")


def test_a_model_that_one_gpu_cannot_hold_is_split_while_it_is_evaluated() -> None:
    small, words = Gpu("small", GIB, round((CONTEXT + 0.3) * GIB)), (*EIGHT, "launch=fsdp2")
    assert settings(*words, gpu=small).evaluated_on == 8
    assert settings(*words, gpu=None).evaluated_on == 1
    assert settings(*words, "launch.evaluation=whole", gpu=small).evaluated_on == 1
    peaks = [estimate(SHAPE, settings(*words, *more, gpu=small)) for more in ((), ("launch.evaluation=whole",))]
    assert peaks[0].phases["evaluation"] < peaks[1].phases["evaluation"]


def test_every_saving_saves_or_costs_nothing_and_can_be_taken() -> None:
    words = ["adapter.r=32", "trainer.per_device_train_batch_size=4", "trainer.gradient_checkpointing=disabled"]
    some = plan(*words)
    before = estimate(SHAPE, footprint(some, SHAPE, GPU, 1024, 0)).reserved
    found = list(reductions(some))
    assert [next(iter(reduction.settings)) for reduction in found][1:3] == ["trainer.per_device_train_batch_size"] * 2
    for reduction in found:
        after = estimate(SHAPE, footprint(changed(some, reduction.settings), SHAPE, GPU, 1024, 0)).reserved
        assert after <= before, reduction


def test_pieces_are_not_made_smaller_by_what_cannot_be_cut() -> None:
    words = [*EIGHT, "optimizer=adamw_torch"]
    one, cut = (
        {key for reduction in reductions(plan(*more)) for key in reduction.settings}
        for more in (words[3:], [*words, "launch=fsdp2", "launch.evaluation=whole"])
    )
    assert "launch.evaluation" in cut
    assert {"optimizer", "quantization"} <= one
    assert "quantization" in cut
    assert not {"optimizer", "launch.dp_shard_size"} & cut


def test_shards_over_all_processes_are_smaller_than_replicas_of_shards() -> None:
    some = plan(*EIGHT, "optimizer=adamw_torch", "launch=fsdp2", "launch.dp_shard_size=2")
    wider = next(each.settings for each in reductions(some) if "launch.dp_shard_size" in each.settings)
    assert changed(some, wider).launch.config.group().shards == 8


def test_an_adapter_that_is_kept_beside_has_weights_and_no_gradients(tmp_path: Path) -> None:
    given = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(given), encoding="utf-8")
    words = ("adapter.r=4", "quantization=nf4", "stages=[plan]")
    plain, beside = settings(*words), settings(*words, "adapter.merge_first=true", f"adapter.start={tmp_path}")
    assert beside.frozen == 4 * SHAPE.lora_parameters(8, ("q", "v"))
    assert beside == dataclasses.replace(plain, frozen=beside.frozen)
    assert estimate(SHAPE, beside).resident - estimate(SHAPE, plain).resident == beside.frozen
    pissa = settings("adapter.args.init_lora_weights=pissa", "adapter.r=4")  # its negative is beside it
    assert pissa.frozen == 4 * SHAPE.lora_parameters(4, LINEARS)


@pytest.mark.parametrize(
    ("words", "gpu", "bytes_of_a_weight"),
    [
        ((), None, 2),
        (("rollout.merge=disabled",), None, 0),
        (("trainer.dtype=fp32",), None, 0),
        (("trainer.dtype=fp32", "rollout.merge=enabled"), None, 4),
        (("adapter=dora",), None, 0),
        (("method=sft", "reward=[]"), None, 0),
        ((), GPU, 0),
        (("rollout.merge=enabled",), GPU, 2),
        (("rollout.merge=enabled", "quantization=nf4"), GPU, 0),
        (("adapter.layers_to_transform=[0,1]", "rollout.merge=enabled"), GPU, 2 * 2 / 30),
    ],
)
def test_a_copy_of_the_merged_weights_is_counted_if_there_is_one(
    words: tuple[str, ...], gpu: Gpu | None, bytes_of_a_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CPU_DTYPE, "bf16")
    made = settings("method=grpo", "reward=[length]", "adapter.lora_dropout=0", *words, gpu=gpu)
    adapted = sum(inputs * outputs for block in SHAPE.blocks for _, inputs, outputs in block.linears)
    assert made.merged == pytest.approx(bytes_of_a_weight * adapted)
    without = dataclasses.replace(made, merged=0.0)
    if made.answer_rows:
        assert estimate(SHAPE, made).phases["answers"] - estimate(SHAPE, without).phases["answers"] == made.merged


def test_answers_of_grpo_go_through_passes_one_by_one_and_pairs_do_not() -> None:
    """A small GPU: a pass has to hold the rows of a group that come together."""
    small = named("6GiB")
    alone, pairs = (
        plan_passes(plan(*words), SHAPE, small, 2048, 0)[1].tokens
        for words in (
            ("method=grpo", "reward=[length]", "method.num_generations=16", "method.max_completion_length=64"),
            ("method=dpo",),
        )
    )
    assert pairs >= 2 * 2048
    assert 2048 <= alone < 16 * 2048


@pytest.mark.parametrize("matrices", [1, 2])
def test_rows_of_new_tokens_are_trained_in_copies_of_embedding_and_head(matrices: int) -> None:
    shape, words = (
        dataclasses.replace(SHAPE, tied=matrices == 1),
        ("adapter.r=4", "trainer.gradient_checkpointing=enabled"),
    )
    plain, tokens = (
        footprint(plan(*words, *more), shape, GPU, 256, 0) for more in ((), ("model.new_tokens=['<a>','<b>']",))
    )
    rows = 2 * shape.hidden * matrices
    assert (tokens.trained, plain.trained) == (shape.lora_parameters(4, LINEARS) + rows, 0)
    assert (tokens.patched, tokens.loss, plain.patched) == (True, Loss.plain, False)
    without = estimate(shape, dataclasses.replace(tokens, patched=False))
    assert estimate(shape, tokens).phases["loss"] - without.phases["loss"] == 2 * 2 * shape.vocab * shape.hidden


@pytest.mark.parametrize(("library", "mib"), [("libtorch_cpu.so", 610), ("libtorch_cuda.so", 1042)])
def test_the_libraries_of_a_process_take_more_where_torch_is_built_for_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, mib: int
) -> None:
    spec = ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / library).touch()
    monkeypatch.setattr("framework_plugins.hf.settings.memory_plan.find_spec", {"torch": spec}.get)
    assert settings("trainer.dtype=fp32", gpu=None).process == mib * 2**20
    assert settings().process == 0  # a GPU has none of it
