"""The plan's memory of a training step, part by part, beside tensors without memory that take the step.

    python -m benchmarks.memory_fake

`tests/support/fake_step.py` takes the step; a test holds the same for a small model. Eight settings are written down
below; four more are drawn by a seed, so that no formula is made for them. A second table has models with experts,
a third what a GPU holds while these are read and packed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.memory import MemorySettings, Shape, Weights, estimate, terms
from framework.util.gpus import Gpu
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.memory_plan import footprint
from framework_plugins.hf.settings.planned_weights import STACKED_FILES
from tests.plugins.hf.settings.test_memory_plan import plan
from tests.support.fake_load import fake_load
from tests.support.fake_step import fake_step, planned_step

MIB, SEED, DRAWN = 2**20, 50, 4
ROOM = Gpu("one with room for all", 10**13, 10**13)
QLORA = ("quantization=nf4", "adapter=lora", "adapter.r=32", "adapter.lora_dropout=0.05")
"""Of `conf/experiment/llama8b_qlora.yaml`, what the memory depends on."""
SETTINGS: tuple[tuple[str, int, int, bool, tuple[str, ...]], ...] = (
    ("llama8b", 2, 2048, True, QLORA),
    ("llama8b", 2, 512, False, QLORA),
    ("llama8b", 4, 1024, True, ("quantization=nf4", "adapter=lora")),
    ("llama8b", 1, 4096, True, ("adapter=lora", "adapter.target_modules=[q_proj,v_proj]")),
    ("llama1b", 4, 512, False, ("adapter=lora",)),
    ("llama1b", 2, 1024, False, ("adapter=dora",)),
    ("llama1b", 2, 1024, True, ("adapter=full",)),
    ("llama1b", 2, 1024, False, ("adapter=full",)),
)
"""Model, rows, length, checkpointing, and what else is set."""
PARTS = ("weights", "adapter", "gradients", "optimizer", "kept", "loss", "temporary", "peak")
MODELS = {"llama1b": "unsloth/Llama-3.2-1B-Instruct", "llama8b": "unsloth/Meta-Llama-3.1-8B-Instruct"}
EXPERTS = ("quantization=nf4", "adapter=lora", "adapter.target_modules=[all-linear]")
MIXTURES = {
    "gpt_oss_20b": "unsloth/gpt-oss-20b-BF16", "qwen3_30b_a3b": "Qwen/Qwen3-30B-A3B",
    "qwen3_5_35b_a3b": "Qwen/Qwen3.5-35B-A3B", "gemma4_26b_a4b": "google/gemma-4-26B-A4B-it",
    "lfm2_8b_a1b": "LiquidAI/LFM2-8B-A1B",
}  # fmt: skip
"""Models with experts. No formula was made for their settings below."""
SLOW = "qwen3_5_35b_a3b"
"""Its states are computed by loops over tokens here."""
OF_MIXTURES: tuple[tuple[str, int, int, bool, tuple[str, ...]], ...] = (
    *((model, 1, 2048, True, EXPERTS) for model in MIXTURES),
    *((model, 1, 2048, True, (*EXPERTS, "adapter.experts=all", "adapter.r=8")) for model in MIXTURES),
    *((model, 1, 8192, True, EXPERTS) for model in MIXTURES if model != SLOW),
)  # fmt: skip


def drawn() -> Iterator[tuple[str, int, int, bool, tuple[str, ...]]]:
    """Draw settings."""
    choose = random.Random(SEED).choice  # noqa: S311 - no secret
    for _ in range(DRAWN):
        model = choose([*MODELS])
        adapter = choose(["lora", "dora", *(["full"] if model == "llama1b" else [])])
        words = [f"adapter={adapter}"]
        if adapter != "full":
            words += [f"adapter.r={choose([8, 32, 64, 128])}", f"quantization={choose(['none', 'nf4'])}"]
            words += [f"adapter.lora_dropout={choose([0, 0.1])}"]
            words += choose([[], ["adapter.target_modules=[q_proj,k_proj,v_proj,o_proj]"]])
        yield model, choose([1, 2, 3, 6]), choose([320, 768, 1536, 3072]), choose([True, False]), tuple(words)


def compare(model: str, rows: int, length: int, checkpointing: bool, words: tuple[str, ...]) -> float:  # noqa: FBT001
    """Print one setting, and return how far the plan's peak is off."""
    switch = "enabled" if checkpointing else "disabled"
    made = plan(
        f"model={model}", f"trainer.per_device_train_batch_size={rows}", f"trainer.max_seq_length={length}",
        "trainer.packing=pad",
        f"trainer.gradient_checkpointing={switch}", f"trainer.tokens_per_pass={rows * length}", *words,
    )  # fmt: skip
    config = CONFIGS[{**MODELS, **MIXTURES}[model]]
    shape = Shape.from_config(config)
    settings = replace(footprint(made, shape, ROOM, length, 0), evaluated_rows=0, answer_rows=0)
    taken, told = fake_step(made, shape, settings, config), planned_step(shape, settings)
    told["peak"] = float(estimate(shape, settings).allocated)
    cells = [_cell(getattr(taken, name), told.get(name)) for name in PARTS]
    label = f"{model}, {rows} x {length}, {'again' if checkpointing else 'kept'}, {' '.join(words)}"
    OUT.print(table_row(label, *cells))
    return told["peak"] / taken.peak - 1


def planned_loading(shape: Shape) -> tuple[float, float]:
    """Return the planned bytes of a model in NF4 with double quantization, and at most while it is loaded."""
    settings = MemorySettings(
        rows=1, length=1, rank=1, weights=Weights.nf4, double_quant=True, packed_experts=True, grouped_experts=True,
        merged_experts=shape.family not in STACKED_FILES,
    )  # fmt: skip
    resident = sum(terms.base_weights(shape, settings).values())
    return resident, resident + terms.packing(shape, settings)


def compare_loading(model: str) -> float:
    """Print what a model takes while it is loaded, and return how far the plan's peak is off."""
    config = CONFIGS[MIXTURES[model]]
    taken, (resident, peak) = fake_load(config), planned_loading(Shape.from_config(config))
    OUT.print(table_row(model, _cell(taken.loaded, resident), _cell(taken.peak, peak)))
    return peak / taken.peak - 1


def _cell(taken: int, planned: float | None) -> str:
    if not taken or planned is None:
        return f"{taken / MIB:,.0f}" if taken else ""
    return f"{taken / MIB:,.0f} ({planned / taken - 1:+.1%})"


def main() -> None:
    """Print all settings."""
    parser = command_line(__doc__)
    parser.add_argument("--loading", action="store_true", help="only the third table")
    if not parser.parse_args().loading:
        steps()
    OUT.print(table_head("model", "loaded", "peak of loading"))
    worst = max(map(compare_loading, MIXTURES), key=abs)
    OUT.print(f"\nMiB; of {len(MIXTURES)} peaks of loading at most {worst:+.1%}")


def steps() -> None:
    """Print what steps take."""
    chosen = [*SETTINGS, *drawn()]
    OUT.print(table_head("setting", *PARTS))
    worst = max((compare(*each) for each in chosen), key=abs)
    OUT.print(f"\nMiB, and how far the plan is off; of {len(chosen)} peaks at most {worst:+.1%}\n")
    OUT.print(table_head("setting", *PARTS))
    worst = max((compare(*each) for each in OF_MIXTURES), key=abs)
    OUT.print(f"\nof {len(OF_MIXTURES)} peaks of models with experts at most {worst:+.1%}\n")


if __name__ == "__main__":
    main()
