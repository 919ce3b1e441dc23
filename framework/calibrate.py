"""`plan.calibrate=true`: a few steps of a plan in processes of their own, and what they took beside what was predicted.

Two trainings of two steps, on rows of random letters of two lengths, tell how far the libraries and the device are from
the arithmetic: an offset, and a factor of what a step adds. That is kept in the user's cache for this device, these
versions and this way to train, and corrects every plan of that kind from then on.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from framework.cache import cache_dir
from framework.errors import FrameworkError
from framework.memory import Estimate, Settings
from framework.plan import Plan
from framework.remembered import read_json, write_json

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth")
STEPS = 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PATIENCE = 900
"""Seconds for a probe, the time to fetch a model included."""
LEFT_OUT = frozenset(
    ("data", "format", "audit", "evaluator", "exporter", "logger", "launch", "stages", "run_dir", "plan", "objective")
)
"""What a probe does not take from the plan: it trains, on rows of its own."""
OWN = frozenset(("trainer.max_steps", "trainer.warmup_steps", "trainer.num_train_epochs"))
"""What it sets itself."""
SHORTER = 3
"""How much shorter the rows of the first probe are."""
AROUND = 0.05
"""The band about a calibrated estimate, below and above."""


@dataclass(frozen=True)
class Probe:
    """A training that was measured: bytes predicted to be resident and at the peak, and those at the peak."""

    resident: int
    predicted: int
    measured: int


@dataclass(frozen=True)
class Correction:
    """How the machine differs from the arithmetic: `offset` in bytes, `factor` of what a step adds."""

    offset: float
    factor: float

    def apply(self, made: Estimate) -> Estimate:
        """Return a corrected estimate, its band narrowed."""
        allocated = made.resident + self.offset + self.factor * (made.allocated - made.resident)
        reserved = allocated * made.reserved / made.allocated
        low, high = reserved * (1 - AROUND), reserved * (1 + AROUND)
        return replace(
            made, allocated=round(allocated), reserved=round(reserved), low=round(max(low, allocated)), high=round(high)
        )


def fit(probes: Sequence[Probe]) -> Correction:
    """Return the line through two probes; where they hardly differ, an offset alone."""
    small, large = sorted(probes, key=lambda probe: probe.predicted)[:: len(probes) - 1]
    steps = [probe.predicted - probe.resident for probe in (small, large)]
    above = [probe.measured - probe.resident for probe in (small, large)]
    if steps[1] < 1.2 * steps[0]:
        return Correction(sum(above) / 2 - sum(steps) / 2, 1.0)
    factor = (above[1] - above[0]) / (steps[1] - steps[0])
    return Correction(above[0] - factor * steps[0], factor)


def correction(device: str, settings: Settings) -> Correction | None:
    """Return what probes found for such a training on this device; None where there were none."""
    found = read_json(_file(device, settings))
    try:
        return Correction(**found) if found else None
    except TypeError:  # of another version
        return None


def calibrate(plan: Plan, device: str, settings: Settings, *, capped: int) -> Correction:
    """Run the probes, keep what they found, and return it.

    Args:
        plan: whose model and trainer are tried.
        device: where.
        settings: how the plan trains, for the key.
        capped: bytes that a probe may take on a CPU.

    Raises:
        FrameworkError: a probe failed; the message holds the end of what it said.
    """
    longest = settings.length if settings.rows > 1 else plan.training.max_seq_length
    longest = min(longest, plan.training.max_seq_length)
    with tempfile.TemporaryDirectory() as folder:
        probes = [_probe(plan, max(48, length), Path(folder), capped) for length in (longest // SHORTER, longest)]
    found = fit(probes)
    write_json(_file(device, settings), asdict(found))
    return found


def _probe(plan: Plan, length: int, folder: Path, capped: int) -> Probe:
    training = plan.training
    step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    file, run = folder / f"{length}.jsonl", folder / f"run-{length}"
    file.write_text("".join(_rows(STEPS * step, length)), encoding="utf-8")
    words = [
        *(word for word in plan.overrides if _key(word).partition(".")[0] not in LEFT_OUT and _key(word) not in OWN),
        "data=local_file", f"data.path={file}", "data.validation_split=0", "format=alpaca", "audit=[]", "evaluator=[]",
        "exporter=[]", "logger=[]", "stages=[data,train]", f"trainer.max_steps={STEPS}", "trainer.warmup_steps=0",
        f"run_dir={run}",
    ]  # fmt: skip
    _run([sys.executable, "-P", "-m", "framework", *words], capped)
    memory = json.loads((run / "estimate.json").read_text(encoding="utf-8"))["memory"]
    measured = json.loads((run / "train.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    return Probe(sum(memory["parts"].values()), memory["allocated"], measured)


def _run(command: Sequence[str], capped: int) -> None:
    """Run a probe; Linux lets it have so much memory of its own and no more."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own words
        if sys.platform == "linux":
            import resource  # noqa: PLC0415 - not on Windows

            resource.prlimit(process.pid, resource.RLIMIT_DATA, (capped, capped))
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"it took longer than {PATIENCE} s"
    if process.returncode:
        lines = [line for line in said.strip().splitlines() if line.strip()]
        message = f"plan.calibrate=true: a probe failed: {lines[-1] if lines else f'exit code {process.returncode}'}"
        raise FrameworkError(message)


def _rows(count: int, length: int) -> Iterator[str]:
    """Give rows of about so many tokens: a letter behind a space is a token of most tokenizers."""
    draw = random.Random(length)  # noqa: S311 - which letters, not a secret
    for _ in range(count):
        asked, answer = (" ".join(draw.choice(LETTERS) for _ in range(max(4, length // 2 - 24))) for _ in range(2))
        yield json.dumps({"instruction": asked, "output": answer}) + "\n"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _file(device: str, settings: Settings) -> Path:
    """Return where the correction lies: by device, versions, and all of the settings but rows and lengths."""
    way = {
        name: str(value) for name, value in asdict(settings).items() if name not in {"rows", "length", "answer_tokens"}
    }
    key = hashlib.sha256(json.dumps([device, _versions(), way], sort_keys=True).encode()).hexdigest()
    return cache_dir() / "plans" / f"calibration-{key[:32]}.json"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
