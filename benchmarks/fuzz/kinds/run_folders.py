"""Run folders: records, checkpoints, locks and logs that are damaged, forged or special files, under seven commands.

A run writes its folder itself, so what is damaged may be repaired or refused, but never change a result in silence.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import SOUND, Case, Expect
from benchmarks.fuzz.edits import Edit

R, S, E, A = Expect.REFUSED, Expect.SAME, Expect.EITHER, Expect.ANY
COMMANDS = {"resume": "part", "rerun": "done", "report": "done", "chat": "done", "diff": "done", "runs": "done"}
"""The commands, and the folder that is damaged for each."""
RECORDS = {
    "done": ("plan", "overrides", "status", "environment", "data", "baseline", "train", "evaluate", "export", "report",
    "forecast"),
    "part": ("plan", "overrides", "status", "environment", "data", "baseline", "forecast"),
}  # fmt: skip
WHY = "the record is made again, is not needed, or the command is refused"
SHOWS = "the command shows what the record says"
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _case(command: str, what: str, expect: Expect, *edits: Edit, names: tuple[str, ...] = (), why: str = WHY) -> Case:
    shown = command in {"diff", "runs"}
    declared = A if shown and expect is E else expect
    sound = SOUND[command]
    return Case(
        "run_folders", f"{command}: {what}", sound.words, declared, command, (*names, COMMANDS[command]),
        SHOWS if shown else why, (*sound.edits, *edits), process=sound.process,
    )  # fmt: skip


# ---- records


@st.composite
def _record(draw: DrawFn) -> Case:
    """Draw a record that is damaged, or not a file."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    folder = COMMANDS[command]
    record = draw(st.sampled_from(RECORDS[folder]))
    file = f"{folder}/{record}.json"
    wrong = draw(
        st.sampled_from(
            [
                b"[]",
                b"null",
                b"5",
                b'"x"',
                b"{}",
                b"[5]",
                b"[[]]",
                b"{",
                b"\xff\xfe",
                b"NaN",
                b'{"a":' * 20_000,
                b"[" * 200_000,
                b'["a"',
                b'{"state": 5}',
                b'{"state": []}',
            ]
        )
    )
    what, edit = draw(
        st.sampled_from(
            [
                ("gone", Edit("gone", file)), ("empty", Edit("put", file, (b"",))), ("nulls", Edit("zero", file)),
                ("cut", Edit("cut", file, (draw(st.floats(0.0, 0.99)),))),
                ("another value", Edit("put", file, (wrong,))), ("a pipe", Edit("pipe", file)),
                ("a folder", Edit("folder", file)), ("a socket", Edit("listen", file)),
                ("a link to itself", Edit("link", file, (f"{record}.json",))),
                ("a link to a device", Edit("link", file, ("/dev/zero",))),
                ("text after its end", Edit("insert", file, (1.0, b"x"))),
            ]
        )
    )  # fmt: skip
    expect = A if (command, what) == ("report", "gone") else E  # as if the stage had not run
    return _case(command, f"{record}.json is {what}", expect, edit, names=(f"{record}.json",))


KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "status": (("state",), ("stage",), ("started",), ("seconds",), ("error",)),
    "train": (("steps",), ("train_loss",), ("checkpoint",), ("issues",), ("oom_fallbacks",)),
    "data": (("train_rows",), ("fingerprint",), ("lengths",), ("formats",), ("proof",)),
    "environment": (("folder",), ("command",), ("packages",), ("config_dirs",), ("options",), ("plugins",),
    ("commit",)),
    "plan": (("seed",), ("trainer",), ("model",), ("stages",), ("run_dir",), ("trainer", "max_steps"), ("adapter",),
    ("name",)),
    "report": (("objective",), ("metrics",), ("name",), ("train",), ("finished",)),
    "baseline": (("metrics",), ("seconds",)), "evaluate": (("metrics",),), "forecast": (("memory",), ("seconds",)),
    "export": (("artifacts",),), "overrides": ((),),
}  # fmt: skip


def _believed(command: str, record: str) -> Expect:
    """Return what another value of a record may change: who repeats a run takes nothing from it but its overrides."""
    return E if command == "rerun" or (command == "resume" and record != "baseline") else A


@st.composite
def _value(draw: DrawFn) -> Case:
    """Draw another value for a key of a record."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    folder = COMMANDS[command]
    record = draw(st.sampled_from([name for name in RECORDS[folder] if name != "overrides"]))
    keys = draw(st.sampled_from(KEYS[record]))
    value = draw(JSON | st.sampled_from(["../../x", "/etc/passwd", "\x1b[31m", "x" * 5000, -1, 1e300, [], {}]))
    edit = Edit("set_json", f"{folder}/{record}.json", (keys, value))
    what, names = f"{record}.json with another {'.'.join(keys)}", (f"{record}.json", keys[-1])
    return _case(command, what, _believed(command, record), edit, names=names, why="a valid record is believed")


@st.composite
def _missing(draw: DrawFn) -> Case:
    command = draw(st.sampled_from(sorted(COMMANDS)))
    folder = COMMANDS[command]
    optional = {"overrides", "export", "forecast"}
    record = draw(st.sampled_from([name for name in RECORDS[folder] if name not in optional]))
    keys, file = draw(st.sampled_from(KEYS[record]))[:1], f"{folder}/{record}.json"
    edits = Edit("set_json", file, (keys, None)), Edit("drop_json", file, (keys,))
    what, names = f"{record}.json without {keys[0]}", (f"{record}.json", keys[0])
    return _case(command, what, _believed(command, record), *edits, names=names, why="older versions wrote less")


OVERRIDES: tuple[tuple[str, bytes], ...] = (
    ("no list", b'{"a": 1}'), ("numbers", b"[1, 2]"), ("lists", b'[["seed=1"]]'), ("an unknown key", b'["nope=1"]'),
    ("a word", b'["x"]'), ("an empty word", b'[""]'), ("an option", b'["--help"]'), ("a sweep", b'["-m", "seed=1,2"]'),
    ("a command", b'["runs"]'),
    ("a list in a list", b'["metric=[[exact_match]]"]'), ("an open bracket", b'["seed=["]'),
    ("brackets", b'["seed=' + b"[" * 3000 + b'"]'), ("a long word", b'["name=' + b"x" * 200_000 + b'"]'),
    ("a control character", b'["name=\\u001b[31m"]'), ("half a character", b'["name=\\ud800"]'), ("null", b"[null]"),
    ("a null character", b'["name=a\\u0000b"]'),
)  # fmt: skip


@st.composite
def _overrides(draw: DrawFn) -> Case:
    command = draw(st.sampled_from(["resume", "rerun", "report"]))
    what, content = draw(st.sampled_from(OVERRIDES))
    return _case(
        command,
        f"overrides.json is {what}",
        R,
        Edit("put", f"{COMMANDS[command]}/overrides.json", (content,)),
        names=("overrides.json", "nope", "name", "seed", "metric", "cannot read"),
    )


# ---- checkpoints of a training, and trained weights

STEP = "part/.resume/step-00000002"
CHECKPOINT = tuple(
    f"{STEP}/{name}"
    for name in (
        "manifest.json", "rest.pt", "optimizer.pt", "weights.safetensors", "best.safetensors",
    )
)  # fmt: skip


@st.composite
def _checkpoint(draw: DrawFn) -> Case:
    """Draw a damaged checkpoint: it is skipped, an earlier one or none is taken, and the result is the same."""
    file = draw(st.sampled_from(CHECKPOINT))
    pickle = b"\x80\x04cos\nsystem\n(S'touch x'\ntR."
    what, edit = draw(
        st.sampled_from(
            [
                ("gone", Edit("gone", file)), ("empty", Edit("put", file, (b"",))), ("nulls", Edit("zero", file)),
                ("cut", Edit("cut", file, (draw(st.floats(0.01, 0.99)),))),
                ("one byte more",
                    Edit("insert", file, (draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=3))))),
                ("a pickle", Edit("put", file, (pickle,))), ("a pipe", Edit("pipe", file)),
                ("a folder", Edit("folder", file)),
                ("a link to itself", Edit("link", file, (file.rpartition("/")[2],))),
                ("a link to a device", Edit("link", file, ("/dev/zero",))), ("a socket", Edit("listen", file)),
            ]
        )
    )  # fmt: skip
    # It may name another training then; a folder with something that is not a file is refused as a whole.
    refused = (file, what) == (CHECKPOINT[0], "one byte more") or what in {"a pipe", "a socket", "a link to a device"}
    expect = E if refused else S
    return _case("resume", f"{file.rpartition('/')[2]} of the checkpoint is {what}", expect, edit)


FOLDERS: tuple[tuple[str, str, Expect, tuple[Edit, ...]], ...] = (
    ("resume", "all checkpoints are gone", S, (Edit("gone", "part/.resume"),)),
    ("resume", "the folder of checkpoints is a file", E,
        (Edit("gone", "part/.resume"), Edit("put", "part/.resume", (b"x",)))),
    ("resume", "the folder of checkpoints is a pipe", E, (Edit("pipe", "part/.resume"),)),
    # The next checkpoint of this step has no place: the refusal names the file to remove.
    ("resume", "a checkpoint is a file", R, (Edit("gone", STEP), Edit("put", STEP, (b"x",)))),
    ("resume", "a checkpoint is empty", S, (Edit("folder", STEP),)),
    ("resume", "a checkpoint of a later step is empty", S, (Edit("folder", "part/.resume/step-00000009"),)),
    ("resume", "a checkpoint of no step", S, (Edit("folder", "part/.resume/step-x"),)),
    ("resume", "half of a checkpoint", S, (Edit("put", "part/.trainer.part/x", (b"x",)),)),
    ("resume", "half of a checkpoint that is a file", E,
        (Edit("gone", "part/.trainer.part"), Edit("put", "part/.trainer.part", (b"x",)))),
    ("resume", "the result is a file", E, (Edit("put", "part/checkpoint", (b"x",)),)),
    ("resume", "the result is there in half", S, (Edit("put", "part/checkpoint/adapter_config.json", (b"{",)),)),
    ("resume", "the result is a pipe", E, (Edit("pipe", "part/checkpoint"),)),
    ("resume", "the record of the training is a folder", E, (Edit("folder", "part/train.json"),)),
    ("resume", "the record of the training is a list", E, (Edit("put", "part/train.json", (b"[]",)),)),
    ("resume", "a file of others", S, (Edit("put", "part/notes.txt", (b"x",)),)),
    ("resume", "a pipe of others", R, (Edit("pipe", "part/p"),)),  # as beside the weights of a model
    ("resume", "complete stages are forged", A,
        (Edit("put", "part/.completed.json", (b'{"train": "x", "data": "x"}',)),)),
    ("resume", "the note of complete stages is damaged", S, (Edit("put", "part/.completed.json", (b"{",)),)),
    ("resume", "the note of complete stages is a list", S, (Edit("put", "part/.completed.json", (b"[]",)),)),
    ("resume", "the note of complete stages is a pipe", E, (Edit("pipe", "part/.completed.json"),)),
    ("resume", "the lock of nobody", S, (Edit("put", "part/.lock", (b"",)),)),
    ("resume", "a lock that is damaged", E, (Edit("put", "part/.lock", (b"\xff{",)),)),
    ("resume", "a lock that is a list", E, (Edit("put", "part/.lock", (b"[]",)),)),
    ("resume", "a lock that is a folder", E, (Edit("folder", "part/.lock"),)),
    ("resume", "a lock that is a pipe", E, (Edit("pipe", "part/.lock"),)),
    ("resume", "a lock that leads to itself", E, (Edit("link", "part/.lock", (".lock",)),)),
    ("resume", "a lock that leads elsewhere", R,
        (Edit("put", "other", (b"kept",)), Edit("link", "part/.lock", ("../other",)))),
    ("resume", "a log that leads elsewhere", E,
        (Edit("put", "other", (b"kept",)), Edit("link", "part/log.jsonl", ("../other",)))),
    ("resume", "a log that is a pipe", E, (Edit("pipe", "part/log.jsonl"),)),
    ("resume", "a log that is a folder", E, (Edit("folder", "part/log.jsonl"),)),
    ("resume", "a log that is cut", S, (Edit("cut", "part/log.jsonl", (0.5,)),)),
    ("resume", "a log of nulls", S, (Edit("zero", "part/log.jsonl"),)),
    ("resume", "a log that is gone", S, (Edit("gone", "part/log.jsonl"),)),
    ("resume", "an unknown folder", R, (Edit("gone", "part"),)),
    ("resume", "an empty folder", R, (Edit("folder", "part"),)),
    ("resume", "a file", R, (Edit("gone", "part"), Edit("put", "part", (b"x",)))),
    ("resume", "a pipe", R, (Edit("pipe", "part"),)),
    ("resume", "a link to itself", R, (Edit("link", "part", ("part",)),)),
    ("rerun", "an unknown folder", R, (Edit("gone", "done"),)),
    ("rerun", "an empty folder", R, (Edit("folder", "done"),)),
    ("rerun", "the target holds files", R, (Edit("put", "again/x", (b"x",)),)),
    ("rerun", "the target is a file", R, (Edit("put", "again", (b"x",)),)),
    ("rerun", "the target leads to itself", R, (Edit("link", "again", ("again",)),)),
    ("rerun", "the target is a pipe", R, (Edit("pipe", "again"),)),
    ("rerun", "weights are gone", S, (Edit("gone", "done/checkpoint"),)),
    ("rerun", "the log is gone", S, (Edit("gone", "done/log.jsonl"),)),
    ("rerun", "the log is a pipe", S, (Edit("pipe", "done/log.jsonl"),)),
    ("rerun", "a lock", S, (Edit("put", "done/.lock", (b"x",)),)),
    ("chat", "weights are gone", R, (Edit("gone", "done/checkpoint"),)),
    ("chat", "weights are a file", R, (Edit("gone", "done/checkpoint"), Edit("put", "done/checkpoint", (b"x",)))),
    ("chat", "weights are a pipe", R, (Edit("pipe", "done/checkpoint/adapter_model.safetensors"),)),
    ("chat", "weights are cut", R, (Edit("cut", "done/checkpoint/adapter_model.safetensors", (0.7,)),)),
    ("chat", "weights are gone in part", R, (Edit("gone", "done/checkpoint/adapter_model.safetensors"),)),
    ("chat", "the config of the weights is a list", E, (Edit("put", "done/checkpoint/adapter_config.json", (b"[]",)),)),
    ("chat", "the config of the weights is a pipe", E, (Edit("pipe", "done/checkpoint/adapter_config.json"),)),
    ("chat", "an empty folder", R, (Edit("folder", "done"),)),
    ("chat", "an adapter elsewhere is damaged", S, (Edit("put", "done/adapter/adapter_config.json", (b"[]",)),)),
    ("chat", "the log is a pipe", E, (Edit("pipe", "done/log.jsonl"),)),

    ("report", "weights are gone", S, (Edit("gone", "done/checkpoint"),)),
    ("report", "the log is cut", S, (Edit("cut", "done/log.jsonl", (0.5,)),)),
    ("report", "the log is a pipe", E, (Edit("pipe", "done/log.jsonl"),)),
    ("report", "the log is a folder", E, (Edit("folder", "done/log.jsonl"),)),
    ("report", "the log of other things", E,
        (Edit("put", "done/log.jsonl", (b'[]\n5\n{"event": 5}\n\xff\n{"event": "log", "step": "x"}\n',)),)),
    ("diff", "the log is a pipe", E, (Edit("pipe", "done/log.jsonl"),)),
    ("diff", "the log of other things", E, (Edit("put", "done/log.jsonl", (b'[]\n5\n{"event": 5}\n\xff\n',)),)),
    ("diff", "an unknown folder", R, (Edit("gone", "done"),)),
    ("diff", "an empty folder", R, (Edit("folder", "done"),)),
    ("diff", "a file", R, (Edit("gone", "done"), Edit("put", "done", (b"x",)))),
    ("runs", "a folder that leads to itself", A, (Edit("link", "loop", (".",)), Edit("link", "l", ("l",)))),
    ("runs", "a pipe", A, (Edit("pipe", "p"),)),
    ("runs", "an odd name", A, (Edit("folder", "\udcff"), Edit("copy", "a\nb", ("@KEPT@/done",)))),
    ("runs", "a sweep that is none", A,
        (Edit("put", "s/sweep.json", (b"[]",)), Edit("put", "s/multirun.yaml", (b"[",)))),
    ("runs", "a sweep with a pipe", A, (Edit("put", "s/sweep.json", (b"{}",)), Edit("pipe", "s/multirun.yaml"))),
    ("runs", "deep folders", A, (Edit("folder", "d/" * 300),)),
    ("runs", "records of nothing", A,
    (Edit("put", "x/status.json", (b"",)), Edit("put", "y/plan.json", (b"",)), Edit("put", "z/report.json", (b"{}",)))),
)  # fmt: skip


def _folder(which: tuple[str, str, Expect, tuple[Edit, ...]]) -> Case:
    command, what, expect, edits = which
    names = (*(edit.path for edit in edits), "folder", "again", "checkpoint", "adapter")
    return _case(command, what, expect, *edits, names=names)


CASES = st.one_of(
    _record(),
    _record(),
    _value(),
    _missing(),
    _overrides(),
    _checkpoint(),
    st.sampled_from(FOLDERS).map(_folder),
    st.sampled_from(FOLDERS).map(_folder),
)
