"""A run that is killed at random moments, again and again, beside one that is left alone.

    python tests/benchmarks/soak.py                       # 100 kills over whole runs of the quickstart
    python tests/benchmarks/soak.py --tiny --kills 6      # of a tiny model, a few minutes

Half of the kills (SIGKILL, to the process and its children) come in the training, half anywhere in a run. A killed run
is started again with the same command; one that comes to its end is compared with the one that was left alone, and the
next begins in a new folder. Adapter, GGUF and the numbers of the report have to be identical, and no stage may begin
that was complete. Exit code 1 where one of this fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.program import environment
from tests.support.tiny import chat_rows, tiny_llama

QUICKSTART = ("+experiment=quickstart", "trainer.save_seconds=10")
TINY = (
    "model=local", "model.path=model", "data=local_file", "data.path=rows.jsonl", "trainer.device=cpu",
    "trainer.dtype=fp32", "trainer.max_steps=40", "trainer.save_seconds=0.5", "trainer.gradient_accumulation_steps=1",
    "exporter=[adapter]", "adapter.r=4", "adapter.lora_dropout=0.1",
)  # fmt: skip
OWN = {"seconds", "run_dir", "finished", "tokens_per_second", "supervised_tokens_per_second", "peak_memory_bytes"}
"""What differs from one run to the next in any case; so do `OF_TRAINING` in the part `train`."""
OF_TRAINING = {"seconds", "resumed", "peak_memory_bytes"}


@dataclass
class Soak:
    """What has happened.

    Attributes:
        words: of the run.
        place: the working folder.
        kills: how many so far, by the stage that was running.
        problems: what must not be.
        complete: by the folder of a run, the seconds of each stage that was complete when it was killed last.
    """

    words: Sequence[str]
    place: Path
    chance: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    complete: dict[str, dict[str, float]] = field(default_factory=dict)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start the run."""
        command = [sys.executable, "-m", "framework", *self.words, "logger=[jsonl]", f"run_dir={folder}"]
        with (self.place / "output.txt").open("ab") as output:
            return subprocess.Popen(
                command, cwd=self.place, env=environment(self.place), stdout=output, stderr=output, process_group=0
            )

    def killed(self, folder: Path, seconds: float, in_training: float) -> bool:
        """Start the run and kill it, half of the time in its training; return whether it was killed."""
        log = folder / "log.jsonl"
        since_byte = log.stat().st_size if log.exists() else 0
        process, begun = self.start(folder), time.monotonic()
        wanted = self.chance.random()
        in_stage = self.chance.random() < 0.5 and not (folder / "train.json").exists()
        while in_stage and process.poll() is None and stage(folder, since_byte) != "train":
            time.sleep(0.05)
        since = time.monotonic() if in_stage else begun
        while process.poll() is None and time.monotonic() - since < wanted * (in_training if in_stage else seconds):
            time.sleep(0.02)
        if process.poll() is not None:
            if process.returncode:
                self.problems.append(f"{folder.name}: exit code {process.returncode}, see output.txt")
            return False
        where = stage(folder, since_byte)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        noted = folder / ".completed.json"
        if noted.exists():
            self.complete[folder.name] = json.loads(noted.read_text(encoding="utf-8"))["seconds"]
        self.kills[where] = self.kills.get(where, 0) + 1
        return True

    def check(self, folder: Path, straight: dict[str, Any]) -> None:
        """Compare a run that came to its end with the one that was left alone."""
        found = outcome(folder)
        for name, value in straight.items():
            if found.get(name) != value:
                self.problems.append(f"{folder.name}: {name} differs")
        took = json.loads((folder / "report.json").read_text(encoding="utf-8"))["seconds"]
        for name, seconds in self.complete.get(folder.name, {}).items():
            if took[name] != seconds:  # the time of a stage that is kept is kept with it
                self.problems.append(f"{folder.name}: {name} was complete and ran again")


def stage(folder: Path, since: int) -> str:
    """Return the stage that a run is in; its log before the byte `since` is of an earlier start."""
    file, last = folder / "log.jsonl", "start"
    for line in file.read_bytes()[since:].splitlines() if file.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:  # not written to its end
            continue
        last = {"stage": event.get("stage", ""), "finished": "end"}.get(event["event"], last)
    return last


def outcome(folder: Path) -> dict[str, Any]:
    """Return what has to be the same: the numbers of the report, and a hash of each file of weights."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    train = {key: value for key, value in report["train"].items() if key not in OF_TRAINING}
    numbers = {key: value for key, value in report.items() if key not in OWN | {"train", "data", "artifacts"}}
    numbers["data"] = {key: value for key, value in report["data"].items() if key != "cached"}
    numbers["artifacts"] = [each["path"] for each in report["artifacts"]]  # their notes tell what was kept
    files = [*folder.rglob("*.safetensors"), *folder.rglob("*.gguf")]
    hashes = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {**numbers, **{f"train.{key}": value for key, value in train.items()}, **hashes}


def main() -> int:
    """Kill, compare, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a tiny model instead of the quickstart")
    parser.add_argument("--place", type=Path, help="a folder to work in, which is kept")
    parsed, say = parser.parse_args(), Console(markup=False, highlight=False).print
    with tempfile.TemporaryDirectory() as scratch:
        place = (parsed.place or Path(scratch)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        if parsed.tiny:
            tiny_llama(place / "model")
            rows = "".join(json.dumps(row) + "\n" for row in chat_rows(60))
            (place / "rows.jsonl").write_text(rows, encoding="utf-8")
        soak = Soak(TINY if parsed.tiny else QUICKSTART, place, random.Random(parsed.seed))  # noqa: S311 - no secret
        begun = time.monotonic()
        if soak.start(place / "straight").wait():
            say((place / "output.txt").read_text(encoding="utf-8")[-2000:])
            return 1
        seconds, straight = time.monotonic() - begun, outcome(place / "straight")
        status = json.loads((place / "straight" / "status.json").read_text(encoding="utf-8"))
        in_training, number = status["seconds"]["train"], 0
        say(f"left alone: {seconds:.0f} s, of it {in_training:.0f} s of training")
        while sum(soak.kills.values()) < parsed.kills and not soak.problems:
            folder = place / f"run-{number}"
            while sum(soak.kills.values()) < parsed.kills and soak.killed(folder, seconds, in_training):
                pass
            if not (folder / "report.json").exists() and not soak.problems:
                soak.start(folder).wait()
            if not soak.problems:
                soak.check(folder, straight)
            number += 1
        counts = ", ".join(f"{count} in {where}" for where, count in sorted(soak.kills.items()))
        say(f"{sum(soak.kills.values())} kills ({counts}) of {number} runs: {soak.problems or 'all identical'}")
        return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
