"""A training with a limit on memory that the kernel keeps: `python tests/support/limited.py MODEL ROWS FOLDER MIB`.

MIB is what the process may take beyond what it has when the training begins; 0: no limit. Prints losses and fallbacks.
It stands for itself: another package may be called `tests` in a process of its own.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import psutil

from framework.api.protocols import TrainRun
from framework.api.records import Step
from framework.config import compose
from framework.config.check import check
from framework.data.stage import load_data
from framework.plan.make import make_plan
from framework_plugins.hf.backend import HFBackend

WORDS = (
    "model=local", "data=local_file", "logger=[]", "data.validation_split=0", "objective=train_loss", "adapter.r=4",
    "trainer.dtype=fp32", "trainer.max_steps=4", "trainer.warmup_steps=1", "trainer.learning_rate=0.001",
    "trainer.per_device_train_batch_size=16", "trainer.gradient_accumulation_steps=1", "trainer.packing=pad",
)  # fmt: skip


def main(base: str, rows: str, folder: Path, mib: int) -> None:
    """Train under the limit."""
    config = compose.compose([*WORDS, f"model.path={base}", f"data.path={rows}"])
    check(config)
    plan = make_plan(config, run_dir=folder)
    steps: list[Step] = []
    with HFBackend(plan.trainer.config).open(plan) as model:
        data = load_data(plan, model)
        model.loss(data.train[:1])
        if mib:
            limit = psutil.Process().memory_info().vms + (mib << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        result = model.train(data.train, [], TrainRun(folder / "checkpoint", folder / "scratch", steps.append))
    sys.stdout.write(
        json.dumps({"losses": [step.loss for step in steps], "oom_fallbacks": result.oom_fallbacks}) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
