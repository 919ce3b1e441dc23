"""What every peer's script shares: its arguments, the clock over its steps, and what it writes at the end."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        model: folder of the base model.
        rows: JSON lines with `input_ids` and `labels`.
        folder: where to write.
        steps: optimizer steps, one epoch.
        batch: rows in one forward pass.
        accumulation: forward passes in one step.
        learning_rate: its peak.
        warmup_steps: steps until there.
        seed: of the run.
        four_bits: whether the base is loaded in NF4.
        checkpointing: whether activations are checkpointed.
        packing: tokens of the sequences that rows are packed into; 0: rows are padded.
        attention: the implementation; empty: what transformers takes.
        liger: whether Liger's kernels are taken.
        dtype: the number format of 16 bits, bf16 or fp16.
    """

    model: str
    rows: str
    folder: str
    steps: int
    batch: int
    accumulation: int
    learning_rate: float
    warmup_steps: int
    seed: int
    four_bits: bool = False
    checkpointing: bool = False
    packing: int = 0
    attention: str = ""
    liger: bool = False
    dtype: str = "bf16"

    def read(self) -> list[dict[str, list[int]]]:
        """Return the rows."""
        return [json.loads(line) for line in Path(self.rows).read_text(encoding="utf-8").splitlines()]

    def arguments(self) -> dict[str, Any]:
        """Return what `SFTConfig` gets from every peer, so that the trainings differ only in what is compared."""
        return {
            "output_dir": self.folder,
            "per_device_train_batch_size": self.batch,
            "gradient_accumulation_steps": self.accumulation,
            "num_train_epochs": 1,
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "lr_scheduler_type": "linear",
            "weight_decay": 0.01,
            "optim": "adamw_torch",
            "bf16": self.dtype == "bf16",
            "fp16": self.dtype == "fp16",
            "logging_steps": 1,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "seed": self.seed,
        }


def task() -> Task:
    """Read the task named on the command line."""
    return Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def clock() -> Any:
    """Return a callback for a transformers trainer: it notes losses, and when steps begin and end, since 1970."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.begins: list[float] = []
            self.losses: list[float] = []
            self.end = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begins.append(time.time())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.end = time.time()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                self.losses.append(logs["loss"])

    return Clock()


def write(timer: Any, job: Task, tokens: int) -> None:
    """Write what was measured; the peaks on the GPU in bytes, 0 if there is none."""
    import torch

    times = [*timer.begins, timer.end]
    seconds = [after - before for before, after in pairwise(times)]
    on_gpu = torch.cuda.is_available()
    result = {
        "first_step": timer.begins[0],
        "seconds": seconds,
        "losses": timer.losses,
        "tokens": tokens,
        "gpu_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0,
        "gpu_reserved": torch.cuda.max_memory_reserved() if on_gpu else 0,
    }
    Path(job.folder, "result.json").write_text(json.dumps(result), encoding="utf-8")
