"""The trainings of one part: framework, TRL and Unsloth on the same rows, each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from framework.api import GIB
from framework_plugins.gpu.card import PEERS, VISIBLE, Card, Environment
from framework_plugins.gpu.environments import FULL, HUB_KERNEL, DiskFullError
from framework_plugins.gpu.parts import BATCH, BenchPart
from framework_plugins.gpu.results import FIRST_LOSSES, Measured, anonymous, rate

TRL, TRL_PACKED, UNSLOTH, OURS, OURS_UNSLOTH = (
    "TRL", "TRL, packed", "Unsloth", "framework, trainer=hf", "framework, trainer=unsloth",
)  # fmt: skip
UNFUSED, COMPILED = "framework, layers not fused", "framework, layers compiled"
CONTENDERS = (OURS, TRL, TRL_PACKED, UNSLOTH, OURS_UNSLOTH, UNFUSED, COMPILED)
VARIANTS = {UNFUSED: "trainer.fused_layers=disabled", COMPILED: "trainer.torch_compile=enabled"}
"""What is measured on and off: `OURS` has its layers fused, and too few steps to have them compiled."""
HELD_OUT_LOSS = "loss of held-out rows"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "UNSLOTH_DISABLE_STATISTICS": "1"}
LEAST_SECONDS = 45
"""What has to be left of a part for one more training: a start takes half a minute."""
HELD_OUT_SECONDS = 90
PACKED = 2048
"""Tokens of a sequence that TRL packs rows into."""
LEARNING_RATE, WARMUP, SEED, RANK = 2e-4, 2, 1, 16
UNLIMITED = 1 << 20


class MissingError(Exception):
    """Why a contender has no result."""


class NotInstalledError(MissingError):
    """It could not be installed, which the next start of the command tries again."""


class NoTimeError(Exception):
    """The time of a part is over; the contender can run when the part is continued."""


@dataclass(frozen=True)
class Bench:
    """One part while it runs.

    Attributes:
        part: which.
        model: the folder of its base.
        folder: of its rows, and of what each contender writes.
        card: the GPU; without a name the CPU.
        environments: of framework, `trl` and `unsloth`.
        until: when the part has to be over, by `time.monotonic`.
    """

    part: BenchPart
    model: Path
    folder: Path
    card: Card
    environments: Mapping[str, Environment]
    until: float

    def train(self, who: str) -> Measured:
        """Train as one contender.

        Raises:
            MissingError: it is not installed, or it failed.
            NoTimeError: the time of this part is used up.
            DiskFullError: the disk is full.
        """
        by_name: dict[str, Callable[[], Measured]] = {
            OURS: lambda: self._ours(OURS, "hf", "framework", (BATCH, 1)),
            TRL: lambda: self._peer(who, "trl", (2, BATCH // 2)),
            TRL_PACKED: self._packed,
            UNSLOTH: lambda: self._peer(who, "unsloth", (2, BATCH // 2)),
            OURS_UNSLOTH: lambda: self._ours(OURS_UNSLOTH, "unsloth", "unsloth", (2, BATCH // 2)),
            **{name: partial(self._ours, name, "hf", "framework", (BATCH, 1)) for name in VARIANTS},
        }
        return by_name[who]()

    def held_out(self, adapters: Mapping[str, Path]) -> dict[str, float]:
        """Return the loss of held-out rows of all adapters, on one base; raises as `train` does."""
        log = self.folder / "held_out.log"
        free = replace(self, part=replace(self.part, limit=UNLIMITED),
                       until=max(self.until, time.monotonic() + HELD_OUT_SECONDS))  # fmt: skip
        rows, four_bits = self.folder / "held_tokens.jsonl", str(int(self.part.quantization == "nf4"))
        command: list[str | Path] = [
            self._python("framework"), PEERS / "held_out.py", self.model, rows, four_bits, self.card.dtype,
        ]  # fmt: skip
        free._run([*command, *adapters.values()], log, expand=False)  # noqa: SLF001 - one of this class
        return dict(zip(adapters, json.loads(log.read_text(encoding="utf-8").splitlines()[-1]), strict=True))

    def adapter(self, who: str) -> Path:
        """Return the folder where a contender leaves its adapter."""
        return self._target(who) / ("run/checkpoint" if who in {OURS, OURS_UNSLOTH, *VARIANTS} else "adapter")

    def _target(self, who: str) -> Path:
        return self.folder / f"contender-{CONTENDERS.index(who)}"

    def _python(self, environment: str) -> Path:
        installation = self.environments[environment]
        if installation.python is None:
            kind = NotInstalledError if installation.try_again else MissingError
            raise kind(anonymous(installation.missing))
        return installation.python

    def _tokens(self) -> list[int]:
        lines = (self.folder / "train_tokens.jsonl").read_text(encoding="utf-8").splitlines()
        return [len(json.loads(line)["input_ids"]) for line in lines]

    def _ours(self, who: str, trainer: str, environment: str, rows: tuple[int, int]) -> Measured:
        python, part, target = self._python(environment), self.part, self._target(who)
        target.mkdir(exist_ok=True)
        words = [
            "model=local", f"model.path={self.model}", "data=local_file", f"data.path={self.folder}/train.jsonl",
            "data.validation_split=0", "audit=[]", "evaluator=[]", "exporter=[]", "stages=[data,train,report]",
            "objective=train_loss", f"adapter.r={RANK}", f"adapter.lora_alpha={2 * RANK}",
            f"trainer.learning_rate={LEARNING_RATE}", f"trainer.warmup_steps={WARMUP}", f"seed={SEED}",
            "trainer.max_seq_length=4096", f"trainer.dtype={self.card.dtype}", "trainer.num_train_epochs=1",
            f"quantization={part.quantization}", f"trainer.device={'cpu' if part.dry else 'cuda'}",
            f"trainer={trainer}", "logger=[clock]", f"plugins=[{PEERS / 'clock_logger.py'}]",
            f"trainer.per_device_train_batch_size={rows[0]}", f"trainer.gradient_accumulation_steps={rows[1]}",
            f"run_dir={target}/run", *([] if part.dry else [f"plan.gpu={part.limit}GiB"]),
            *(["plan.apply=true"] if trainer == "hf" and not part.dry else []),
            *([VARIANTS[who]] if who in VARIANTS else []),
        ]  # fmt: skip
        self._run([python, "-m", "framework", *words], target / "log", expand=True)
        run = target / "run"
        result, trained, forecast, report = (
            json.loads((run / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("result", "train", "forecast", "report")
        )
        tokens = sum(self._tokens())
        if result["tokens"] != tokens:
            raise MissingError(f"it trained on {result['tokens']:,} tokens, and the others on {tokens:,}")
        memory, facts = forecast["memory"] or {"low": 0, "high": 0}, report["hardware"]
        fact_names = (
            "packing",
            "attention",
            "layers",
            "compiled layers",
            "passes",
            "gradient checkpointing",
            "out of memory",
        )
        notes = [f"{name} {facts[name]}" for name in fact_names if name in facts]
        return Measured(
            result["seconds"], rate(tokens, result["seconds"]), trained["peak_memory_bytes"] if self.card.name else 0,
            result["gpu_reserved"], memory["low"] if self.card.name else 0, memory["high"] if self.card.name else 0,
            _first(result["losses"]), notes=anonymous("; ".join(notes)),
        )  # fmt: skip

    def _peer(self, who: str, kind: str, rows: tuple[int, int], **settings: Any) -> Measured:
        python, target = self._python(kind), self._target(who)
        target.mkdir(exist_ok=True)
        task = {
            "model": str(self.model), "rows": str(self.folder / "train_tokens.jsonl"), "folder": str(target),
            "steps": self.part.steps, "batch": rows[0], "accumulation": rows[1], "learning_rate": LEARNING_RATE,
            "warmup_steps": WARMUP, "seed": SEED, "four_bits": self.part.quantization == "nf4",
            "checkpointing": True, "dtype": self.card.dtype, **settings,
        }  # fmt: skip
        (target / "task.json").write_text(json.dumps(task), encoding="utf-8")
        self._run([python, PEERS / f"{kind}_peer.py", target / "task.json"], target / "log", expand=False)
        result = json.loads((target / "result.json").read_text(encoding="utf-8"))
        notes = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
        return Measured(
            result["seconds"], rate(sum(self._tokens()), result["seconds"]), result["gpu_bytes"],
            result["gpu_reserved"], first_losses=_first(result["losses"]), notes=notes,
        )  # fmt: skip

    def _packed(self) -> Measured:
        """Train with TRL's packing, by the first of the kernels that are installed and run."""
        self._python("trl")  # without it no kernel helps
        installed = self.environments["trl"].versions
        steps = max(1, round(sum(self._tokens()) / PACKED / self.part.steps))
        flash = ["flash_attention_2"] if "flash-attn" in installed else []
        hub = [HUB_KERNEL] if "kernels" in installed else []
        kernels = ["sdpa"] if self.part.dry else [*flash, *hub, "flex_attention", "sdpa"]
        liger = not self.part.dry and "liger-kernel" in installed
        problems = []
        for attention in kernels:
            try:
                return self._peer(TRL_PACKED, "trl", (1, steps), packing=PACKED, attention=attention, liger=liger)
            except MissingError as error:
                problems.append(f"with attention {attention}: {error}")
        raise MissingError("; ".join(problems))

    def _run(self, command: Sequence[str | Path], log: Path, *, expand: bool) -> None:
        """Run a training; if its time is up, or this process is interrupted, it is killed."""
        remaining = self.until - time.monotonic()
        if remaining < LEAST_SECONDS:
            raise NoTimeError
        env = os.environ | OFFLINE
        if self.card.name:
            share = [f"per_process_memory_fraction:{min(1.0, self.part.limit * GIB / self.card.memory):.4f}"]
            env["PYTORCH_ALLOC_CONF"] = ",".join([*share, *(["expandable_segments:True"] if expand else [])])
            env.setdefault(VISIBLE, "0")
        else:
            env[VISIBLE] = ""
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(  # noqa: S603 - our own words
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=env,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(remaining)
            except subprocess.TimeoutExpired as error:
                raise MissingError(
                    f"it did not end within {remaining:.0f} s, when the time of the part was over"
                ) from error
            finally:
                if process.poll() is None:
                    _kill(process)
        if code:
            text = log.read_text(encoding="utf-8", errors="replace")
            if FULL in text:
                raise DiskFullError
            raise MissingError(anonymous((text.strip().splitlines() or [f"exit code {code}"])[-1]))


def _first(losses: Sequence[float]) -> list[float]:
    """Return the losses of the first steps.

    Raises:
        MissingError: a loss is not a finite number, so the speed says nothing.
    """
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise MissingError(f"its loss is {loss} in step {step}")
    return list(losses[:FIRST_LOSSES])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a training and what it started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def with_losses(results: Mapping[str, Measured], losses: Mapping[str, float]) -> dict[str, Measured]:
    """Return the results with the losses of held-out rows."""
    finite = {who: loss for who, loss in losses.items() if math.isfinite(loss)}
    return {who: dataclasses.replace(measured, held_out_loss=finite.get(who, measured.held_out_loss))
            for who, measured in results.items()}  # fmt: skip
