"""A run that is killed at random moments, again and again, beside one that is left alone.

    python -m benchmarks.soak                       # 100 kills over whole runs of the quickstart
    python -m benchmarks.soak --minutes 60          # as many of them as fit into an hour
    python -m benchmarks.soak --tiny --kills 6      # of a tiny model, a few minutes
    python -m benchmarks.soak --tiny --signals SIGHUP SIGXCPU --each 2 --kills 24    # six runs of each signal

A run is killed (SIGKILL, to the process and its children) about twenty times before its end, half of them in the
training, a few steps before or after the last kill. The others come at a random moment of the start and of each other
stage, about twice in each. With `--signals`, each run takes the next of them; all but SIGKILL go to the process of the
run alone, which has to end with the exit code of that signal. A killed run is started again with the same command; one
that comes to its end is compared with the one that was left alone, and the next begins in a new folder. Adapter, GGUF
and the numbers of the report have to be identical, and no stage may begin that was complete. The exit code is 1 where
one of this fails. Each kill prints a line; Ctrl-C ends early, with the sum of what there was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import OUT, command_line
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
STAGES = ("start", "baseline", "train", "evaluate", "export", "end")
"""As the log shows them: it begins after the data, and its last line comes after the report."""
STAY = {"train": 0.92}
"""How likely the next kill comes in the stage that is not complete, and not in the one after it."""
HALVES = {".resume", ".completed.json"}
"""What a run has removed when it ends, beside folders `….part`."""


@dataclass
class Soak:
    """What has happened.

    Attributes:
        words: of the run.
        place: the working folder.
        signals: that kill: the first one the first run, and so on.
        each: how often a run is killed before it is left to finish.
        say: prints a line.
        lengths: by stage, how many seconds it took in the run that was left alone.
        steps: of that run.
        kills: how many so far, by the stage that was running.
        problems: what must not be.
        complete: by the folder of a run, the seconds of each stage that was complete when it was killed last.
        last: by the folder of a run, the last step that its log had when it was killed.
    """

    words: Sequence[str]
    place: Path
    chance: random.Random
    signals: Sequence[signal.Signals]
    each: float
    say: Callable[[str], None]
    lengths: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    complete: dict[str, dict[str, float]] = field(default_factory=dict)
    last: Counter[str] = field(default_factory=Counter)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start the run."""
        command = [sys.executable, "-m", "framework", *self.words, "logger=[jsonl]", f"run_dir={folder}"]
        env = environment(self.place, FRAMEWORK_CACHE=str(self.place / "cache"))
        with (self.place / f"{folder.name}.txt").open("ab") as output:
            return subprocess.Popen(command, cwd=self.place, env=env, stdout=output, stderr=output, process_group=0)

    def finish(self, folder: Path) -> None:
        """Run to the end.

        Raises:
            subprocess.CalledProcessError: the run failed.
        """
        process = self.start(folder)
        try:
            if code := process.wait():
                raise subprocess.CalledProcessError(code, process.args)
        finally:
            kill(process)

    def measure(self, folder: Path) -> None:
        """Run once to the end, and learn how long each stage takes."""
        begun = time.monotonic()
        self.finish(folder)
        seconds = time.monotonic() - begun
        lengths = json.loads((folder / "status.json").read_text(encoding="utf-8"))["seconds"]
        self.lengths = {name: lengths[name] for name in ("baseline", "train", "evaluate", "export")}
        # Imports, the plan, the model and the data before the first line of the log; the report and what loggers do.
        self.lengths |= {"start": seconds - sum(self.lengths.values()), "end": lengths["report"] + 1}
        self.steps = progress(folder, 0)[1]
        shown = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.lengths.items())
        self.say(f"left alone: {seconds:.0f} s ({shown}), {self.steps} steps")

    def killed(self, folder: Path, by: signal.Signals) -> bool:
        """Start the run and kill it, half of the time in its training; return whether it was killed."""
        log = folder / "log.jsonl"
        since = log.stat().st_size if log.exists() else 0
        complete = self.complete.get(folder.name, {})
        aim, *later = [name for name in STAGES[1:] if name not in complete]
        if later and self.chance.random() > STAY.get(aim, 0.67):
            aim = later[0]
        elif self.chance.random() < 0.1:
            aim = "start"
        ahead = self.chance.randint(-self.steps // 16, self.steps // 8)
        step = max(1, self.last[folder.name] + ahead) if aim == "train" else 0
        # The moments of a step are as likely as those between two of them.
        length = self.lengths["train"] / self.steps if step else self.lengths[aim]
        process = self.start(folder)
        try:
            while process.poll() is None and not reached(progress(folder, since), aim, step):
                time.sleep(0.02)
            end = time.monotonic() + self.chance.random() * length
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            if process.poll() is not None:
                if process.returncode:
                    self.fails(folder, f"exit code {process.returncode}")
                return False
            where, at = progress(folder, since)
            if by != signal.SIGKILL:
                process.send_signal(by)
                code = process.wait()
                # Until a run has begun, and after its end, a signal does what it does to any program.
                if code != 128 + by and not (where in ("start", "end") and code in (0, -by)):
                    self.fails(folder, f"exit code {code} after {by.name} in {where}")
        finally:
            kill(process)
        noted, status = folder / ".completed.json", folder / "status.json"
        if noted.exists():
            self.complete[folder.name] = json.loads(noted.read_text(encoding="utf-8"))["seconds"]
        self.kills[where] += 1
        self.last[folder.name] = max(at, self.last[folder.name])
        kept = ", ".join(self.complete.get(folder.name, {})) or "nothing"
        self.say(f"kill {self.kills.total()}: {folder.name}, {by.name} in {where}, step {at}; complete: {kept}")
        return not (status.exists() and json.loads(status.read_text(encoding="utf-8"))["state"] == "finished")

    def check(self, folder: Path, straight: dict[str, Any]) -> None:
        """Compare a run that came to its end with the one that was left alone."""
        found = outcome(folder)
        for name in sorted({*straight, *found}):
            if found.get(name) != straight.get(name):
                self.fails(folder, f"{name} differs: {found.get(name)!r:.200} and {straight.get(name)!r:.200}")
        took = json.loads((folder / "report.json").read_text(encoding="utf-8"))["seconds"]
        for name, seconds in self.complete.get(folder.name, {}).items():
            if took[name] != seconds:  # the time of a stage that is kept is kept with it
                self.fails(folder, f"{name} was complete and ran again")
        halves = [path.name for path in folder.iterdir() if path.name in HALVES or path.name.endswith(".part")]
        if halves and not (folder / ".lock").exists():  # it is there where the kill came after the end was noted
            self.fails(folder, f"left: {', '.join(halves)}")

    def fails(self, folder: Path, problem: str) -> None:
        """Note a problem."""
        self.problems.append(f"{folder.name}: {problem}")
        self.say(f"PROBLEM {self.problems[-1]}")

    def runs(self, straight: dict[str, Any], kills: int, until: float) -> Iterator[Path]:
        """Kill and compare one run after the other; give the folder of each that came to its end."""
        number = 0
        while self.kills.total() < kills and time.monotonic() < until:
            folder = self.place / f"run-{number}"
            shutil.rmtree(self.place / "cache" / "data", ignore_errors=True)  # tokenizing can be killed too
            before, at = len(self.problems), self.kills.total()
            by = self.signals[number % len(self.signals)]
            most = min(kills, at + self.each)
            while self.kills.total() < most and time.monotonic() < until and self.killed(folder, by):
                pass
            if len(self.problems) == before:
                try:
                    status = folder / "status.json"
                    if not status.exists() or json.loads(status.read_text(encoding="utf-8"))["state"] != "finished":
                        self.finish(folder)
                    self.check(folder, straight)
                except (OSError, ValueError, subprocess.CalledProcessError) as error:
                    self.fails(folder, str(error))
            if len(self.problems) == before:
                self.say(f"{folder.name} is identical")
                shutil.rmtree(folder)  # a folder with a problem stays
            yield folder
            number += 1


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a run and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def reached(now: tuple[str, int], aim: str, step: int) -> bool:
    """Whether a run has begun a stage and, in the training, logged a step; it may be past that."""
    order = STAGES.index(now[0]) - STAGES.index(aim)
    return order > 0 or (order == 0 and now[1] >= step)


def progress(folder: Path, since: int) -> tuple[str, int]:
    """Return the stage that a run is in, and its last step; its log before the byte `since` is of an earlier start."""
    file, last, step = folder / "log.jsonl", "start", 0
    for line in file.read_bytes()[since:].splitlines() if file.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:  # not written to its end
            continue
        last = {"stage": event.get("stage", ""), "finished": "end"}.get(event["event"], last)
        step = event.get("step", step) if event["event"] == "step" else step
    return last, step


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
    parser = command_line(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signals", nargs="+", default=["SIGKILL"], help="such as SIGHUP; a run takes the next one")
    parser.add_argument("--each", type=float, default=math.inf, help="kills of a run before it is left to finish")
    parser.add_argument("--tiny", action="store_true", help="a tiny model instead of the quickstart")
    parser.add_argument("--place", type=Path, help="a folder to work in, which is kept")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no kill after that")
    parsed, say = parser.parse_args(), OUT.print
    with tempfile.TemporaryDirectory() as scratch:
        place, until = (parsed.place or Path(scratch)).absolute(), time.monotonic() + 60 * parsed.minutes
        place.mkdir(parents=True, exist_ok=True)
        if parsed.tiny:
            tiny_llama(place / "model")
            rows = "".join(json.dumps(row) + "\n" for row in chat_rows(60))
            (place / "rows.jsonl").write_text(rows, encoding="utf-8")
        words, chance = TINY if parsed.tiny else QUICKSTART, random.Random(parsed.seed)  # noqa: S311 - no secret
        signals = [signal.Signals[name] for name in parsed.signals]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a child inherits that it is ignored, as by nohup
        soak = Soak(words, place, chance, signals, parsed.each, say)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        soak.measure(place / "straight")
        ended = 0
        try:
            for _ in soak.runs(outcome(place / "straight"), parsed.kills, until):
                ended += 1
        except KeyboardInterrupt:
            say("interrupted")
        counts = ", ".join(f"{soak.kills[name]} in {name}" for name in STAGES)
        problems = "\n".join(soak.problems) or "all identical"
        say(f"{soak.kills.total()} kills ({counts}), {ended} runs that came to their end: {problems}")
        return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
