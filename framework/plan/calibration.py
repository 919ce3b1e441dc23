"""How much more a way to train was seen to take on this device than the arithmetic says.

`plan.calibrate=true` finds that out once, by a probe; it is kept in the cache for this machine and device, these
versions of the libraries, and this way to train with rows of this length.
"""

from __future__ import annotations

import contextlib
import json
import platform
import random
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from framework.api.plan import Plan, as_plain
from framework.api.schema import Affects
from framework.api.text.overrides import override_key
from framework.memory import MemorySettings
from framework.util.cache import cache_dir, digest, read_json, write_json
from framework.util.errors import FrameworkError

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth")
NAME = "calibration-"
STEPS = 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PROBE_TIMEOUT_S = 900
"""Seconds for a probe, the time to fetch a model included."""
AROUND_ROWS = 48
"""Tokens of a row that the chat template adds, about."""
SHORTEST = 64
ROOM = 1024
"""Tokens that a row of a probe may have above that: templates differ."""


def offset(device: str, settings: MemorySettings) -> float:
    """Return how many bytes such a training was seen to take beyond the arithmetic; 0 if none was seen."""
    if not any(cache_dir().glob(f"plans/{NAME}*")):  # the versions of the libraries take 10 ms
        return 0.0
    value = read_json(_file(device, settings)).get("offset", 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def keep(device: str, settings: MemorySettings, difference: float) -> None:
    """Keep what a probe found."""
    write_json(_file(device, settings), {"offset": difference})


def _file(device: str, settings: MemorySettings) -> Path:
    """Return where the difference lies: by machine, device, versions and the way to train."""
    key = json.dumps([platform.node(), device, _versions(), as_plain(settings, Affects.probe)], sort_keys=True)
    return cache_dir() / "plans" / f"{NAME}{digest(key)}.json"


def _versions() -> dict[str, str]:
    from framework.util.versions import installed  # noqa: PLC0415 - for those who have calibrated

    return {name: number for name in LIBRARIES if (number := installed(name))}


def measure(plan: Plan, longest: int, *, capped: int | None) -> float:
    """Run the probe, and return how many bytes it took beyond the arithmetic.

    Args:
        plan: whose model and trainer are tried.
        longest: tokens of its longest row.
        capped: bytes of memory of its own that the probe may take; None for no limit.

    Raises:
        FrameworkError: the probe failed; the message holds the end of what it said.
    """
    from framework.util.process import ProcessError, PythonProcess  # noqa: PLC0415 - for those who calibrate

    training = plan.training
    step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder, "rows.jsonl"), Path(folder, "run")
        file.write_text("".join(_rows(STEPS * step, max(SHORTEST, longest) - AROUND_ROWS)), encoding="utf-8")
        words = [
            # It trains on rows of its own, with what it sets below: all else is taken from the plan.
            *(word for word in plan.overrides if Affects.probe in plan.affects(override_key(word))),
            "data=local_file", f"data.path={file}", "data.validation_split=0", "format=alpaca", "audit=[]",
            "evaluator=[]", "exporter=[]", "logger=[]", "launch=single", "stages=[data,train]", "objective=train_loss",
            "plan.calibrate=false", "plan.apply=false", "plan.gpu=null", f"trainer.max_steps={STEPS}",
            "trainer.eval_steps=null", "trainer.early_stopping_patience=null",
            "trainer.early_stopping_metric=eval_loss", "trainer.warmup_steps=0",
            f"trainer.max_seq_length={longest + ROOM}", f"run_dir={run}",
        ]  # fmt: skip
        try:
            with PythonProcess() as process:
                process.call(f"{__name__}:train", words, capped, seconds=PROBE_TIMEOUT_S)
        except ProcessError as error:
            raise FrameworkError(f"plan.calibrate=true: the probe failed: {error.last or error}") from error
        predicted = json.loads((run / "forecast.json").read_text(encoding="utf-8"))["memory"]["allocated"]
        measured = json.loads((run / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    return float(measured - predicted)


def train(words: Sequence[str], capped: int | None) -> None:
    """Be the program with these words; Linux lets this process have so much memory of its own and no more."""
    if capped is not None and sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on Windows

        with contextlib.suppress(OSError, ValueError):  # a lower limit holds
            resource.setrlimit(resource.RLIMIT_DATA, (capped, capped))
    sys.argv[1:] = words
    try:
        runpy.run_module("framework", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


def _rows(count: int, length: int) -> Iterator[str]:
    """Yield rows of about `length` tokens: a letter behind a space is a token of most tokenizers."""
    draw = random.Random(length)  # noqa: S311 - which letters, not a secret
    for _ in range(count):
        asked, answer = (" ".join(draw.choice(LETTERS) for _ in range(max(4, length // 2))) for _ in range(2))
        yield json.dumps({"instruction": asked, "output": answer}) + "\n"
