"""Run folders on an object store, with fsspec's file system in memory."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from framework import FrameworkError
from framework.rundir import lease, store
from framework.rundir.objects import Store
from framework.rundir.store import Index, Mirror, fetch, holder, mirrored, read_index
from tests.support.project import Project, project

ROWS = "".join(json.dumps({"instruction": f"say {n}", "output": f"{n}"}) + "\n" for n in range(8))
WORDS = ["data=local_file", "data.path=rows.jsonl", "audit=[]", "logger=[console]"]
RUN = "tested://bucket/run"


class Remote(MemoryFileSystem):
    """A store that asks a function before each operation."""

    protocol = "tested"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[Callable[[str, str], None]] = lambda *_: None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("tested://")))

    def put_file(self, lpath: str, rpath: str, **words: Any) -> None:
        if callback := words.get("callback"):
            callback.set_size(1)  # as S3's does when it begins
        type(self).asked("put", rpath)
        super().put_file(lpath, rpath, **words)

    def pipe_file(self, path: str, value: bytes, **words: Any) -> None:
        type(self).asked("put", path)
        super().pipe_file(path, value, **words)

    def rm_file(self, path: str) -> None:
        type(self).asked("remove", path)
        super().rm_file(path)

    def cat_file(self, path: str, **words: Any) -> Any:
        type(self).asked("get", path)
        return super().cat_file(path, **words)


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Remote]]:
    """Return an empty store."""
    fsspec.register_implementation("tested", Remote, clobber=True)
    monkeypatch.setattr(Remote, "store", {})
    monkeypatch.setattr(Remote, "pseudo_dirs", [""])
    monkeypatch.setattr(Remote, "asked", lambda *_: None)
    for module, name in ((store, "POLL_SECONDS"), (store, "RETRY_SECONDS"), (lease, "POLL_SECONDS")):
        monkeypatch.setattr(module, name, 0.01)
    yield Remote
    Remote.clear_instance_cache()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return what changes to a machine with a cache of its own, and returns its mirror."""

    def change(name: str) -> Path:
        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / name))
        return store.mirror(RUN)

    return change


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in files}


def checkpoint(step: int) -> dict[str, str]:
    return {f".resume/step-{step}/{name}": f"{name} {step}" for name in ("rest.pt", "manifest.json")}


def weights(version: str) -> dict[str, str]:
    return {f"checkpoint/{name}": f"{name} {version}" for name in ("a", "b")}


def wait_for_threads() -> None:
    """Wait for what was left behind when a store did not answer."""
    for thread in threading.enumerate():
        if thread.name.endswith(("(work)", "(called)")):
            thread.join(5)


def machine(tmp_path: Path, name: str) -> Project:
    return project(tmp_path / name, {"rows.jsonl": ROWS}, {"FRAMEWORK_CACHE": str(tmp_path / name / "cache")})


def test_another_machine_lists_compares_and_continues_a_run_on_a_store(tmp_path: Path) -> None:
    one, other = machine(tmp_path, "one"), machine(tmp_path, "other")
    url = "memory://whole/runs/first"
    done = one.echo(*WORDS, f"run_dir={url}", "stages=[data,baseline,train]")
    assert done.code == 0, done.err
    assert f"chat {url}" in done.out
    listed = other.run("runs", "memory://whole/runs")
    assert re.search(rf"{url} .* finished", listed.out), listed.err
    more = other.echo(f"run_dir={url}", "stages=[evaluate,report]")
    assert more.code == 0, more.err
    assert f"{url}: fetched" in more.err
    files = contents(other.folder / "cache" / ".stores" / "memory" / "whole" / "runs" / "first")
    assert {"train.json", "baseline.json", "report.json", "checkpoint/echo.json"} <= files.keys()
    held = fsspec.filesystem("memory")
    assert {name for name in files if held.exists(f"/whole/runs/first/{name}")} == files.keys()
    third = machine(tmp_path, "third")
    compared = third.run("diff", url, url)
    assert compared.code == 0, compared.err
    ended = third.run("resume", url)
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2, f"{url} is finished: there is nothing to resume; use rerun to run it again"
    )  # fmt: skip


def test_what_the_store_lists_is_whole_wherever_the_machine_is_lost(
    tested: type[Remote], place: Callable[[str], Path], tmp_path: Path
) -> None:
    old = {"status.json": "1", **weights("old"), **checkpoint(1), **checkpoint(2)}
    new = {"status.json": "2", **weights("new"), **checkpoint(2), **checkpoint(3)}
    seen = set()
    for lost_after in itertools.count():
        tested.store.clear()
        for name in ("one", "other"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        folder = place("one")
        sending = Mirror(Store(RUN), folder)
        sending.begin(lambda: None)
        write(folder, old)
        sending._send()  # noqa: SLF001 - what the thread calls
        shutil.rmtree(folder / ".resume" / "step-1")
        write(folder, {name: text for name, text in new.items() if "step-2" not in name})
        left = iter(range(lost_after))

        def asked(*_: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError("the machine is lost")

        tested.asked = asked
        try:
            sending._send(ends=True)  # noqa: SLF001 - as above
            lost = False
        except OSError:
            lost = True
        tested.asked = lambda *_: None
        place("other")
        found = contents(fetch(RUN))
        parts = {
            "weights": [weights("old"), weights("new")],
            "1": [checkpoint(1)],
            "2": [checkpoint(2)],
            "3": [checkpoint(3)],
        }
        whole = {name: {tuple(each.items()) for each in states} for name, states in parts.items()}
        kept = {
            "weights": tuple(sorted((n, t) for n, t in found.items() if n.startswith("checkpoint/"))),
            **{
                step: tuple((n, t) for n, t in sorted(found.items(), reverse=True) if f"step-{step}/" in n)
                for step in "123"
            },
        }
        assert all(not kept[name] or kept[name] in whole[name] for name in kept), (lost_after, found)
        assert kept["2"]
        seen.add(tuple(bool(kept[name]) for name in kept))
        if not lost:
            assert found == new
            assert {name.removeprefix("/bucket/run/") for name in tested.store} == {
                *new,
                ".store.json",
                ".store.1.lock",
            }
            break
    assert len(seen) > 1


def test_a_store_that_hangs_holds_up_no_step_and_its_run_no_longer_than_the_setting(
    tested: type[Remote], place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hangs = place("one"), threading.Event()

    def hang(*_: str) -> None:
        hangs.wait(30)

    start = time.monotonic()
    with pytest.raises(FrameworkError) as raised, mirrored(RUN, folder, 0.2):  # noqa: PT012 - its end raises
        tested.asked = hang
        for step in range(3):
            write(folder, {"status.json": str(step), **checkpoint(step)})
        assert time.monotonic() - start < 1
    assert time.monotonic() - start < 5
    tested.asked = lambda *_: None
    hangs.set()
    wait_for_threads()
    first, second = str(raised.value).splitlines()
    assert first == f"{RUN} does not have all of the run: it took nothing for store_seconds=0.2"
    assert second.startswith(f"The rest is in {folder}: send it with `")
    assert second.endswith(f" -m framework run_dir={RUN} stages=[report]`")
    with mirrored(RUN, folder, 5):
        pass
    place("other")
    assert contents(fetch(RUN)) == {"status.json": "2", **checkpoint(0), **checkpoint(1), **checkpoint(2)}
    with pytest.raises(FrameworkError, match=r"has not answered for 0\.1 s"):  # noqa: PT012 - as above
        place("other")
        tested.asked = lambda *_: time.sleep(0.5)
        monkeypatch.setattr(store, "ANSWER_SECONDS", 0.1)
        fetch(RUN)
    wait_for_threads()


def test_a_store_that_fails_for_a_while_has_all_at_the_end_also_of_a_checkpoint_that_rotated(
    tested: type[Remote], place: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = place("one")
    tries: list[str] = []

    def asked(what: str, name: str) -> None:
        if "step-1" in name and what == "put":
            tries.append(name)
            if len(tries) == 1:  # it is removed here while it is sent
                shutil.rmtree(folder / ".resume" / "step-1")
            if len(tries) < 4:
                raise ConnectionError("no route")

    with mirrored(RUN, folder, 5):
        tested.asked = asked
        write(folder, {"status.json": "1", **checkpoint(1)})
        while len(tries) < 1:
            time.sleep(0.01)
        write(folder, checkpoint(2))
    assert caplog.messages == [f"{RUN} takes nothing, and the run continues: ConnectionError: no route"]
    place("other")
    assert contents(fetch(RUN)) == {"status.json": "1", **checkpoint(2)}


def test_a_store_that_fails_now_and_then_has_all_at_the_end(tested: type[Remote], place: Callable[[str], Path]) -> None:
    calls = itertools.count()

    def asked(*_: str) -> None:
        if next(calls) % 5 == 4:
            raise ConnectionResetError("now and then")

    folder, files = place("one"), {f"checkpoint/{number}": "a" for number in range(20)}
    with mirrored(RUN, folder, 2):
        tested.asked = asked
        write(folder, {"status.json": "1", **files})
    tested.asked = lambda *_: None
    place("other")
    assert contents(fetch(RUN)) == {"status.json": "1", **files}


@pytest.mark.parametrize("name", [".store.json", ".store.1.lock"])
def test_a_store_that_refuses_a_single_object_holds_up_the_end_no_longer_than_the_setting(
    tested: type[Remote], place: Callable[[str], Path], name: str
) -> None:
    def asked(what: str, path: str) -> None:
        if what == "put" and path.endswith(name):
            raise PermissionError("Forbidden")

    folder, start = place("one"), time.monotonic()
    with pytest.raises(FrameworkError, match="PermissionError: Forbidden"), mirrored(RUN, folder, 0.2):  # noqa: PT012
        tested.asked = asked
        write(folder, {"status.json": "1"})
    assert time.monotonic() - start < 5


def test_a_run_whose_folder_another_machine_has_taken_sends_nothing_more_and_says_where_its_own_is(
    tested: type[Remote], place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = place("one")
    with contextlib.ExitStack() as stack:
        raised = stack.enter_context(pytest.raises(FrameworkError))
        stack.enter_context(mirrored(RUN, folder, 1))
        write(folder, {"status.json": "1"})
        listed = "/bucket/run/.store.json"  # what another machine brings
        while listed not in tested.store or b"status.json" not in tested.store[listed].getvalue():
            time.sleep(0.01)
        there = place("other")
        fetch(RUN)  # as `resume` does, which is not yet a start
        assert holder(there).startswith("process ")
        monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 0.03)  # it cannot give a sign of life that fast
        with mirrored(RUN, there, 1):
            assert "may still be running: waiting up to 0.03 s to find out" in capsys.readouterr().err
            assert contents(there) == {"status.json": "1"}
            assert holder(there) == ""
            write(folder, {"status.json": "2"})
        place("one")
    first, second = str(raised.value).splitlines()
    assert re.fullmatch(rf"{RUN} does not have all of the run: .* works there now", first)
    assert second == f"All of it is in {folder}: copy that to keep it, since another start replaces it"
    assert contents(folder) == {"status.json": "2"}
    place("other")
    assert contents(fetch(RUN)) == {"status.json": "1"}


@pytest.mark.parametrize(
    ("url", "told", "fix"),
    [
        ("tables://bucket/run", "fsspec knows no protocol tables://", "Typical ones are s3, gs, abfs, file"),
        ("tested://", "name a bucket and a folder in it", ""),
        ("tested://bucket", "name a bucket and a folder in it, tested://BUCKET/FOLDER", ""),
        ("tested://joe:Sesame9@bucket/run", "tested://…@bucket: leave the password out of the URL", ""),
        ("x://bucket/run", "is neither a folder nor the URL of one: the URL of a store has the form s3://", ""),
        ("tested:/bucket/run", "is neither a folder nor the URL of one: the URL of a store has the form s3://", ""),
        ("tested://denied/run", "cannot be used: PermissionError: Forbidden", "Check the credentials and what they"),
        ("tested://full/run", "cannot be used: OSError: [Errno 28] No space left on device", "Make room there"),
        ("tested://absent/run", "cannot be used: FileNotFoundError: no such bucket", "Make the bucket first"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_in_two_lines(
    tested: type[Remote], tmp_path: Path, url: str, told: str, fix: str
) -> None:
    def asked(what: str, name: str) -> None:
        if what == "put" and "denied" in name:
            raise PermissionError("Forbidden")
        if what == "put" and "full" in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        if what == "put" and "absent" in name:
            raise FileNotFoundError("no such bucket")

    tested.asked = asked
    done = machine(tmp_path, "one").echo(*WORDS, f"run_dir={url}")
    lines = done.err.strip().splitlines()
    assert done.code == 2
    assert told in lines[0]
    assert "Sesame9" not in f"{done.out}{done.err}"
    assert (len(lines) == 1) if not fix else lines[1].startswith(fix)
    assert tested.store == {}
    assert [*(tmp_path / "one").rglob("*.json")] == []


def test_a_store_that_answers_and_refuses_to_write_holds_up_the_end_no_longer_than_the_setting(
    tested: type[Remote], place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its quota is used up, say: each try begins, and nothing is taken."""
    folder = place("one")
    began = time.monotonic()

    def asked(what: str, path: str) -> None:
        if what == "put" and not path.endswith(".lock"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded", path)

    def fills_it() -> None:
        with mirrored(RUN, folder, 0.3):
            write(folder, {"overrides.json": "[]", "plan.json": "{}", "data.json": "1"})
            monkeypatch.setattr(tested, "asked", asked)

    with pytest.raises(FrameworkError) as ended:
        fills_it()
    assert time.monotonic() - began < 5
    first, second = str(ended.value).splitlines()
    assert first.startswith(f"{RUN} does not have all of the run: OSError: [Errno 122] Disk quota exceeded")
    assert second.startswith(f"The rest is in {folder}: send it with `")
    wait_for_threads()
    monkeypatch.setattr(tested, "asked", lambda *_: None)
    with mirrored(RUN, folder, 5):
        pass
    assert {*read_index(Store(RUN).read(store.INDEX) or b"", "").files} == {"overrides.json", "plan.json", "data.json"}


def test_a_store_that_deletes_nothing_has_all_of_a_run(
    tested: type[Remote],
    place: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def asked(what: str, _: str) -> None:
        if what == "remove":
            raise PermissionError("Access Denied")

    monkeypatch.setattr(tested, "asked", asked)
    folder = place("one")
    for step in (1, 2):
        with mirrored(RUN, folder, 5):
            write(folder, {"overrides.json": "[]", "plan.json": "{}", **checkpoint(step)})
            shutil.rmtree(folder / f".resume/step-{step - 1}", ignore_errors=True)
    index = read_index(Store(RUN).read(store.INDEX) or b"", "")
    assert {*index.files} == {"overrides.json", "plan.json", *checkpoint(2)}
    told = f"{RUN} deletes nothing, and what is not needed stays: PermissionError: Access Denied"
    assert {*caplog.messages} == {told}


def test_a_folder_in_a_run_and_a_store_that_redirects_without_end_are_refused(
    tested: type[Remote], place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirrored(RUN, place("one"), 5):
        write(place("one"), {"overrides.json": "[]", "plan.json": "{}"})
    inner = f"{RUN}/adapter/x"
    told = f"^run_dir={inner} is in the run {RUN}: give a folder outside of it$"
    with pytest.raises(FrameworkError, match=told), mirrored(inner, store.mirror(inner), 5):
        pass

    def asked(*_: str) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(tested, "asked", asked)
    with pytest.raises(FrameworkError, match="it redirects without end: check its endpoint and its region"):
        fetch(RUN)


def test_a_sweep_on_a_store_is_refused(tmp_path: Path) -> None:
    done = machine(tmp_path, "one").echo("-m", *WORDS, "seed=1,2", "hydra.sweep.dir=s3://bucket/sweep")
    assert (done.code, done.err.strip()) == (
        2, "hydra.sweep.dir=s3://bucket/sweep: only a run can be on a store. Give a folder for a sweep"
    )  # fmt: skip
    assert not [*tmp_path.rglob("bucket")]


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "", "."])
def test_an_index_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    content = json.dumps({"files": {name: [1, 1]}, "writer": "1"}).encode()
    with pytest.raises(FrameworkError, match=r"x is not what a run writes \(it lists "):
        read_index(content, "x")
    with pytest.raises(FrameworkError, match=r"\(it is not JSON with the fields of an index\)\nRestore it, or give"):
        read_index(b'{"files": {}, "x": 1}', "x")
    assert read_index(b'{"files": {"a/b": [1, 2]}}', "x") == Index({"a/b": (1, 2)})
