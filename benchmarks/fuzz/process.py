"""Runs cases in forks of this process, which has imported what they need, and says how they ended."""

from __future__ import annotations

import atexit
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.fuzz.case import (
    GOOD,
    KEEPING,
    KEPT,
    PLACE,
    SOUND,
    STORED_URL,
    Case,
    Expect,
    Process,
    replaced,
    words,
)  # fmt: skip

SECONDS, MEMORY = 10, 2 << 30
"""What a case may take: seconds of processor time, bytes beyond those of this process."""
IDLE, BUSY = 20.0, 50
"""A case that takes fewer than BUSY ticks of processor time in IDLE seconds waits for what never comes."""
SHOWN = 1 << 20
"""Bytes of the output of a case that are read."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int
    idle: bool
    """It was stopped, as it waited for what never comes."""
    left: tuple[str, ...]
    """Files that it made."""
    changed: tuple[str, ...]
    """Files that it changed or removed."""
    result: str


class Slot:
    """A folder where one case runs at a time: a run notes its working folder, so those of a slot have one path."""

    def __init__(self, folder: Path, good: Path) -> None:
        self.folder, self.place, self.kept = folder, folder / "place", folder / "kept"
        self.folders = {GOOD: good, KEPT: self.kept, PLACE: self.place}
        self.kept.mkdir(parents=True)

    def keep_runs(self) -> None:
        """Make a finished run, one that was killed in its third step, and a finished one on a store."""
        for name, place, stop_at in (("done", "done", 0), ("part", "part", 3), ("stored", STORED_URL, 0)):
            line = words(*KEEPING, f"run_dir={place}")
            case = Case("", name, line, Expect.ANY, process=Process(stop_at=stop_at))
            ended = next(iter(outcomes([case], [self])))[1]
            if ended.code != (-signal.SIGKILL if stop_at else 0):
                raise SystemExit(f"the sound run '{name}' ended with {ended.code}\n{ended.out}{ended.err}")
            shutil.move(self.place / name, self.kept / name)
        assert sorted((self.kept / "part" / ".resume").iterdir()), "the interrupted run has a checkpoint"


@dataclass
class _Running:
    case: Case
    slot: Slot
    before: dict[str, tuple[int, int]]
    process: int
    began: float
    looked: float
    used: int = -1
    idle: bool = False


def outcomes(cases: Iterable[Case], slots: list[Slot]) -> Iterator[tuple[Case, Outcome]]:
    """Run cases, one in each slot at a time; yield each with its outcome, as it ends."""
    waiting, free, running = iter(cases), list(slots), list[_Running]()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    while True:
        while free and (case := next(waiting, None)) is not None:
            running.append(_start(case, free.pop()))
        if not running:
            return
        time.sleep(0.005)
        for each in list(running):
            ended, status, used = os.wait4(each.process, os.WNOHANG)
            if not ended:
                _stop_idle(each)
                continue
            running.remove(each)
            with suppress(ProcessLookupError):
                os.killpg(each.process, signal.SIGKILL)
            seconds, memory = used.ru_utime + used.ru_stime, max(0, (used.ru_maxrss << 10) - base)
            yield each.case, _outcome(each, os.waitstatus_to_exitcode(status), seconds, memory)
            free.append(each.slot)


def _start(case: Case, slot: Slot) -> _Running:
    shutil.rmtree(slot.place, ignore_errors=True)
    slot.place.mkdir()
    for name in ("cache", "home", "tmp"):
        (slot.place / name).mkdir()
    try:
        for edit in case.edits:
            edit.apply(slot.place, lambda text: replaced(text, slot.folders))
    except Exception as error:
        error.add_note(f"while a case was prepared: {case}")
        raise
    before = _files(slot.place)
    (slot.folder / "stdin").write_text(case.process.stdin, encoding="utf-8")
    child = os.fork()
    if child == 0:
        _main(case, slot)
    return _Running(case, slot, before, child, time.monotonic(), time.monotonic())


def _stop_idle(each: _Running) -> None:
    """Stop a case that does nothing: a busy machine makes one slow, but gives it some time."""
    if time.monotonic() - each.looked < (IDLE + each.case.waits if each.used >= 0 else 1):
        return
    used = _used(each.process)
    is_idle = each.used >= 0 and used < each.used + BUSY
    if is_idle or _opens_a_pipe(each.process) or time.monotonic() - each.began > 60 * SECONDS:
        each.idle = True
        with suppress(ProcessLookupError):
            os.killpg(each.process, signal.SIGKILL)
    each.used, each.looked = used, time.monotonic()


def _opens_a_pipe(process: int) -> bool:
    """Whether it waits until somebody writes to a named pipe, as far as the kernel tells."""
    try:
        return Path(f"/proc/{process}/wchan").read_text(encoding="ascii") == "wait_for_partner"
    except OSError:
        return False


def _used(group: int) -> int:
    """Return the processor time of a process group, in ticks."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) if int(fields[2]) == group else 0
    return total


def _files(place: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder, folders, names in os.walk(place):
        for name in [*names, *folders]:
            path = Path(folder, name)
            with suppress(OSError):
                stat = path.lstat()
                is_file = name in names
                found[str(path.relative_to(place))] = (stat.st_size, stat.st_mtime_ns) if is_file else (0, 0)
    return found


def _outcome(each: _Running, code: int, seconds: float, memory: int) -> Outcome:
    place, sound = each.slot.place, SOUND[each.case.sound]
    after = _files(place)
    left = tuple(sorted(set(after) - set(each.before)))
    changed = tuple(sorted(name for name, held in each.before.items() if after.get(name) != held))
    out, err = (_read(each.slot.folder / name) for name in ("out", "err"))
    result = ""
    if code == 0:
        printed = out.replace(str(place), "") if sound.run == "" else str(bool(out.strip()))
        result = _result(place / sound.run) if sound.run else printed
    return Outcome(code, out, err, seconds, memory, each.idle, left, changed, result)


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(SHOWN).decode("utf-8", "replace")


def _result(run: Path) -> str:
    """Return the numbers of a run: those of its newest record, without times and names."""

    def record(name: str) -> Any:
        file = run / f"{name}.json"
        return json.loads(file.read_bytes()) if file.is_file() else None

    try:
        if report := record("report"):
            keys = ("steps", "train_loss", "last_loss", "tokens", "supervised_tokens")
            train = {key: (report["train"] or {}).get(key) for key in keys}
            metrics = {name: (each["before"], each["after"]) for name, each in report["metrics"].items()}
            return json.dumps([report["objective"]["value"], metrics, train])
        if evaluated := record("evaluate"):
            return json.dumps(evaluated["metrics"])
        if plan := record("plan"):
            return json.dumps({key: value for key, value in plan.items() if key not in {"name", "run_dir"}})
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"a record that cannot be read: {error!r}"
    return "no record"


def _main(case: Case, slot: Slot) -> NoReturn:
    """Become the program."""
    code = 1
    try:
        os.setsid()
        os.chdir(slot.place)
        _surround(case, slot)
        if case.process.python:
            code = _script(replaced(case.process.python, slot.folders))
        else:
            sys.argv = ["framework", *(replaced(word, slot.folders) for word in case.words)]
            from framework.cli.main import main

            main()
            code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - a traceback is a fault of the case
        import traceback

        with suppress(Exception):
            traceback.print_exc()
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 120  # as Python ends then
    os._exit(code)


def _script(text: str) -> int:
    """Execute a script, which reports the errors that the program describes as the command line does."""
    from framework import FrameworkError

    try:
        exec(compile(text, "script.py", "exec"), {"__name__": "script"})  # noqa: S102 - it is written here
    except FrameworkError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _surround(case: Case, slot: Slot) -> None:
    setting = case.process
    for name in ("out", "err"):
        (slot.folder / name).write_bytes(b"")
    targets = {"": os.O_WRONLY | os.O_APPEND, "full": os.O_WRONLY, "closed": os.O_WRONLY}
    for number, name, target in ((1, "out", setting.stdout), (2, "err", setting.stderr)):
        if target == "broken":
            reader, opened = os.pipe()
            os.close(reader)
        else:
            opened = os.open("/dev/full" if target == "full" else slot.folder / name, targets[target])
        os.dup2(opened, number)
        os.close(opened)
    opened = os.open(slot.folder / "stdin", os.O_RDONLY)
    os.dup2(opened, 0)
    os.close(opened)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding=setting.encoding, errors="strict")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=setting.encoding, errors="backslashreplace")
    for name, target in (("stdin", setting.stdin), ("stdout", setting.stdout), ("stderr", setting.stderr)):
        if target == "closed":
            getattr(sys, name).close()
            setattr(sys, name, None)  # as Python has it then
    os.environ |= {"FRAMEWORK_CACHE": str(slot.place / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    os.environ |= {"HOME": str(slot.place / "home"), "TMPDIR": str(slot.place / "tmp")}
    for variable, value in case.env:
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = replaced(value, slot.folders)
    tempfile.tempdir = None
    for number in setting.ignored:
        signal.signal(number, signal.SIG_IGN)
    if setting.umask >= 0:
        os.umask(setting.umask)
    if setting.stop_at:
        _stop_at(setting.stop_at)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    has = pages * resource.getpagesize()
    limits = {resource.RLIMIT_AS: 2 * MEMORY, resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: SECONDS + 2}
    for which, more in (limits | dict(setting.limits)).items():
        most = more + has if which == resource.RLIMIT_AS else more
        resource.setrlimit(which, (most, most + 2 if which == resource.RLIMIT_CPU else most))
    if setting.user:
        for path in (slot.place, *slot.place.rglob("*")):
            os.chown(path, setting.user, setting.user, follow_symlinks=False)
        os.setgid(setting.user)
        os.setuid(setting.user)
    if setting.cwd == "removed":
        away = slot.place / "away"
        away.mkdir()
        os.chdir(away)
        away.rmdir()


def _stop_at(step: int) -> None:
    from framework_plugins.hf.train.progress import Progress

    patched: Any = Progress
    told = patched.on_log

    def on_log(self: Any, args: Any, state: Any, *more: Any, **named: Any) -> None:
        told(self, args, state, *more, **named)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    patched.on_log = on_log


def prepared(folder: Path) -> Path:
    """Write the sound model, adapter and rows, and import what cases need."""
    import torch
    from trl.chat_template_utils import qwen3_chat_template

    from framework.rundir import lease, store
    from framework.util import guard
    from tests.support.bases import adapted
    from tests.support.forks import STARTS, prepare
    from tests.support.tiny import chat_rows, tiny_chatml, tiny_llama

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True  # of the plugins that a case brings along
    # A case waits for no minute until a store has answered, or the holder of a lock is known to be dead.
    lease.POLL_SECONDS, lease.DEAD_AFTER_SECONDS = 0.1, 0.5
    store.POLL_SECONDS, store.RETRY_SECONDS, store.ANSWER_SECONDS = 0.1, 0.2, 3.0
    guard.TRIAL_SECONDS = 2.0
    prepare(
        *STARTS, "framework.cli.commands.diff", "framework.cli.commands.resume", "framework.cli.commands.runs",
        "framework_plugins.formats.readers.columnar", "framework_plugins.hf.backend",
        "framework_plugins.hf.train.training", "rich._emoji_codes",
        "tabulate",  # torch imports it at the end of a process
        "transformers.integrations.integration_utils",
    )  # fmt: skip
    folder.mkdir(parents=True)
    adapted(tiny_llama(folder / "base", hidden_size=16), folder / "adapter", r=2)
    tools = tiny_chatml(folder / "tools")
    settings = json.loads((tools / "tokenizer_config.json").read_bytes())
    settings.pop("chat_template", None)
    (tools / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tools / "chat_template.jinja").write_text(qwen3_chat_template, encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    folder.parent.chmod(0o755)  # a case may run as another user
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    return folder
