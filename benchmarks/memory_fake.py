"""The plan's memory of a training step, part by part, beside tensors without memory that take the step.

    python -m benchmarks.memory_fake

`tests/support/fake_step.py` takes the step; a test holds the same for a small model. Eight settings are written down
below; four more are drawn by a seed, so that no formula is made for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.memory import Shape, estimate
from framework.util.gpus import Gpu
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.memory_plan import footprint
from tests.plugins.hf.settings.test_memory_plan import plan
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
        f"trainer.per_device_train_batch_size={rows}", f"trainer.max_seq_length={length}", "trainer.packing=pad",
        f"trainer.gradient_checkpointing={switch}", f"trainer.tokens_per_pass={rows * length}", *words,
    )  # fmt: skip
    shape = Shape.from_config(CONFIGS[MODELS[model]])
    settings = replace(footprint(made, shape, ROOM, length, 0), evaluated_rows=0, answer_rows=0)
    taken, told = fake_step(made, shape, settings), planned_step(shape, settings)
    told["peak"] = float(estimate(shape, settings).allocated)
    cells = [_cell(getattr(taken, name), told.get(name)) for name in PARTS]
    label = f"{model}, {rows} x {length}, {'again' if checkpointing else 'kept'}, {' '.join(words)}"
    OUT.print(table_row(label, *cells))
    return told["peak"] / taken.peak - 1


def _cell(taken: int, planned: float | None) -> str:
    if not taken or planned is None:
        return f"{taken / MIB:,.0f}" if taken else ""
    return f"{taken / MIB:,.0f} ({planned / taken - 1:+.1%})"


def main() -> None:
    """Print all settings."""
    command_line(__doc__).parse_args()
    chosen = [*SETTINGS, *drawn()]
    OUT.print(table_head("setting", *PARTS))
    worst = max((compare(*each) for each in chosen), key=abs)
    OUT.print(f"\nMiB, and how far the plan is off; of {len(chosen)} peaks at most {worst:+.1%}")


if __name__ == "__main__":
    main()
