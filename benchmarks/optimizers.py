"""What each optimizer keeps, planned and measured on this machine's CPU.

    .venv/bin/python -m benchmarks.optimizers
    .venv/bin/python -m benchmarks.optimizers --peaks adamw_torch lion_8bit

States: bytes for a trained parameter, as the plan counts them and as a checkpoint holds them after two steps of a tiny
Llama with LoRA, r=64. With `--peaks` also the peak of the process in a training of all weights of SmolLM2-135M, one row
of 128 tokens, beside the plan's: `memory_cpu.py` with each of these optimizers, half a minute for one.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from benchmarks.common import OUT, command_line, table_head, table_row
from benchmarks.memory_cpu import FULL, Kind, measure
from framework.api import RunFolder, installed
from framework.api.protocols import TrainedWeight
from framework_plugins.hf.settings.optimizers import OPTIMIZERS
from framework_plugins.hf.train.resume.training_state import OPTIMIZER
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened, train

RANK, HIDDEN = 64, 128
"""So that no matrix has fewer than 4096 numbers, of which bitsandbytes keeps the states in 32 bits."""
TABLE = "qmap"
"""Begins the name of a table of bitsandbytes, which all weights share."""


def words(name: str) -> list[str]:
    """Return the overrides that choose an optimizer."""
    free = ["schedule=constant"]  # which has no warm-up
    return [f"optimizer={name}", *(free if OPTIMIZERS[name].own_schedule else [])]


def why_not(name: str) -> str:
    """Say why an optimizer is not measured here; empty if it is."""
    facts = OPTIMIZERS[name]
    if facts.package and installed(facts.package) is None:
        return f"{facts.package} is not installed"
    return "a CPU has no pages" if facts.paged else ""


def states(name: str, base: Path, rows: Path, folder: Path) -> float:
    """Train two steps, and return the bytes of states for a parameter that the checkpoint holds."""
    more = ["audit=[]", "evaluator=[]", "trainer.max_steps=3", "trainer.save_steps=2", f"adapter.r={RANK}"]
    more += ["trainer.warmup_steps=0"]
    with opened(make(base, rows, folder, *more, *words(name))) as (model, data):
        result, _ = train(model, data, folder)
    kept = torch.load(folder / RunFolder.TRAINING_STATE / "step-00000002" / OPTIMIZER, weights_only=True)["states"]
    size = sum(
        value.nbytes
        for state in kept.values()
        for name, value in state.items()
        if torch.is_tensor(value) and not name.startswith(TABLE)
    )
    return size / result.trainable_parameters


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--peaks", nargs="*", choices=[*OPTIMIZERS], default=[])
    peaks = parser.parse_args().peaks
    OUT.print(table_head("`optimizer`", "states, planned", "measured", "peak MiB, planned", "measured", "off"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, rows = tiny_llama(folder / "base", hidden_size=HIDDEN), folder / "rows.jsonl"
        rows.write_text("".join(json.dumps(chat) + "\n" for chat in chat_rows(12)), encoding="utf-8")
        for optimizer, schema in OPTIMIZERS.items():
            if reason := why_not(optimizer):
                OUT.print(table_row(f"`{optimizer}`", f"not run: {reason}", "", "", "", ""))
                continue
            matrix = TrainedWeight("weight", (RANK, HIDDEN))
            planned = (schema().state_bytes([matrix], on_gpu=False) or 0) / (RANK * HIDDEN)
            cells = [f"{planned:.2f}", f"{states(optimizer, base, rows, folder / optimizer):.2f}", "", "", ""]
            if optimizer in peaks:
                peak, measured = measure(Kind(1, 128, FULL), folder, *words(optimizer))
                expected = peak["reserved"]
                cells[2:] = [f"{expected:,.0f}", f"{measured:,.0f}", f"{expected / measured - 1:+.1%}"]
            OUT.print(table_row(f"`{optimizer}`", *cells))


if __name__ == "__main__":
    main()
