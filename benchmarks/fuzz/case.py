"""A case: a command line, what is changed around it, and the outcome that is declared before it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from benchmarks.fuzz.edits import Edit

GOOD, KEPT, PLACE = "@GOOD@", "@KEPT@", "@PLACE@"
"""In arguments, variables and edits: the folder of sound inputs, of sound runs, and the working folder of the case."""
COMMON = (
    "data=local_file", "trainer.device=cpu", "trainer.dtype=fp32", "metric=[exact_match]", "evaluator=[]",
    "logger=[console]", "audit=[]", "exporter=[]", "adapter.r=2",
)  # fmt: skip
TRAINING = (
    "run_dir=run", "trainer.max_steps=2", "trainer.warmup_steps=0", "trainer.learning_rate=0.01",
    "trainer.per_device_train_batch_size=16", "trainer.gradient_accumulation_steps=1",
)  # fmt: skip
"""All rows are in each step, and the steps change the weights: the losses of a run depend on every token."""


class Expect(Enum):
    """What is declared."""

    REFUSED = "must be refused"
    SAME = "same result as unmutated"
    EITHER = "refused, or the same result"
    ANY = "refused, or any result"


@dataclass(frozen=True)
class Process:
    """The surroundings of a process that are neither files nor variables."""

    stdin: str = ""
    """Its content; `closed` is a word that no prompt is."""
    stdout: str = ""
    """Empty: a file. `closed`, `full` (no space left on the device), `broken` (a pipe without a reader)."""
    stderr: str = ""
    encoding: str = "utf-8"
    cwd: str = ""
    """`removed`: it does not exist anymore."""
    umask: int = -1
    user: int = 0
    """A user id without an entry in passwd; needs root."""
    ignored: tuple[int, ...] = ()
    """Signals."""
    limits: tuple[tuple[int, int], ...] = ()
    """Of resources; for memory, what is allowed beyond what the process has."""
    stop_at: int = 0
    """The process kills itself in this step of the training."""
    python: str = ""
    """What is executed instead of the command line: a script of somebody who calls the program from Python."""


@dataclass(frozen=True)
class Case:
    """One input. `what` names the mutation, without what was drawn for it: faults are counted by it."""

    kind: str
    what: str
    words: tuple[str, ...]
    expect: Expect
    sound: str = "run"
    """The unmutated case, see `SOUND`."""
    names: tuple[str, ...] = ()
    """A refusal contains one of these: a file, a key or a value."""
    why: str = ""
    """Why the outcome is not declared, for EITHER and ANY."""
    edits: tuple[Edit, ...] = ()
    env: tuple[tuple[str, str | None], ...] = ()
    """Variables; None removes one."""
    process: Process = field(default_factory=Process)
    codes: tuple[int, ...] = ()
    """Further exit codes that the documentation promises for such a case."""
    waits: float = 0.0
    """Seconds for which the program waits by design for what does not answer."""
    trains: bool = False
    """A refusal may come in the training, after which the run folder stays."""

    def __str__(self) -> str:
        same = set(SOUND[self.sound].words)
        own = " ".join(_shown(word) for word in self.words if word not in same)
        lines = [f"{self.kind}, {self.what}: {self.expect.value}", f"the case '{self.sound}' with: {own}"]
        lines += [f"variable {name}={_shown(value)}" for name, value in self.env]
        lines += [_shown(each, 300) for each in self.edits]
        return "\n    ".join([*lines, *([str(self.process)] if self.process != Process() else [])])


def _shown(value: object, most: int = 200) -> str:
    text = str(value) if isinstance(value, Edit) or (isinstance(value, str) and value.isprintable()) else ascii(value)
    # Own code comes last in a plugin file, after what all of them have.
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]} ({len(text):,} characters)"


@dataclass(frozen=True)
class Sound:
    """The case of which others are mutations, and where its result is."""

    words: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    run: str | None = "run"
    """The run folder; empty: the result is what is printed on standard output; None: that something is printed."""
    process: Process = field(default_factory=Process)
    writes: tuple[str, ...] = ("run/",)
    """Where it may leave files, besides the cache."""


def words(*more: str, model: str = f"{GOOD}/base", data: str = f"{GOOD}/rows.jsonl") -> tuple[str, ...]:
    """Return the command line of a training of a tiny model; of words that set the same key, the last counts."""
    line = ("model=local", f"model.path={model}", f"data.path={data}", *COMMON, *TRAINING, *more)
    return tuple({word.partition("=")[0]: word for word in line}.values())


ADAPTER = ("stages=[evaluate]", "objective=train_loss")
CHAT = ("chat", "done", "--tuned", "--json", "--temperature=0", "--max-new-tokens=3")
DONE, PART = Edit("copy", "done", (f"{KEPT}/done",)), Edit("copy", "part", (f"{KEPT}/part",))
STORED, STORED_URL = Edit("copy", "stored", (f"{KEPT}/stored",)), f"file://{PLACE}/stored"
"""A finished run on a store."""
KEEPING = ("logger=[console,jsonl]", "trainer.save_steps=1", "trainer.max_steps=4", "exporter=[adapter]")
"""What the runs do that are resumed and compared."""
SOUND = {
    "run": Sound(words()),
    "plan": Sound(words("stages=[plan]")),
    "evaluate": Sound(words(*ADAPTER, f"checkpoint={GOOD}/adapter")),
    "resume": Sound(("resume", "part"), (PART,), run="part", writes=("part/",)),
    "rerun": Sound(("rerun", "done", "run_dir=again"), (DONE,), run="again", writes=("again/",)),
    "report": Sound(("run_dir=done", "stages=[report]"), (DONE,), run="done", writes=("done/",)),
    "chat": Sound(CHAT, (DONE,), run="", process=Process(stdin="Which number follows 3?\n"), writes=()),
    "diff": Sound(("diff", "done", "part", "--json"), (DONE, PART), run="", writes=()),
    "runs": Sound(("runs", "."), (DONE, PART), run="", writes=("part/.lock",)),
    "stored": Sound(words("run_dir=memory://bucket/run"), run="cache/.stores/memory/bucket/run", writes=()),
    "listed": Sound(("runs", STORED_URL), (STORED,), run="", writes=()),
    "compared": Sound(("diff", STORED_URL, STORED_URL, "--json"), (STORED,), run="", writes=()),
    "reported": Sound((f"run_dir={STORED_URL}", "stages=[report]"), (STORED,), run="stored", writes=("stored/",)),
    "none": Sound(("--version",), run="", writes=()),
    "shown": Sound(("plan-table",), run=None, writes=()),
}  # fmt: skip


def replaced(text: str, folders: dict[str, Path]) -> str:
    """Return a text with the folders that its placeholders stand for."""
    for token, folder in folders.items():
        text = text.replace(token, str(folder))
    return text
