"""framework/util/process.py: what a call in another process returns, and what becomes of one that does not."""

import tempfile
from pathlib import Path

import psutil
import pytest

from framework.util.errors import FrameworkError
from framework.util.process import ProcessError, PythonProcess

FUNCTIONS = """
import os, signal, sys, time
from framework import FrameworkError
def double(number, *, more=0): print("a library speaks"); return 2 * number + more
def process(): return os.getpid()
def variable(name): return os.environ.get(name)
def refuse(): raise FrameworkError("take another")
def fail(): print("so far so good"); raise KeyError("rope")
def leave(): print("first"); print("farewell", file=sys.stderr); os._exit(7)
def die(): os.kill(os.getpid(), signal.SIGABRT)
def hang(): time.sleep(600)
"""


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_calls.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_calls_share_a_process_until_one_costs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "set before")
    with PythonProcess(env={"MINE": "given", "OTHER": "given"}) as process:
        assert process.call("acme_calls:double", 2, more=1) == 5
        assert [process.call("acme_calls:variable", name) for name in ("MINE", "OTHER")] == ["set before", "given"]
        first = process.call("acme_calls:process")
        with pytest.raises(FrameworkError, match=r"^take another$"):
            process.call("acme_calls:refuse")
        with pytest.raises(ProcessError, match=r"^KeyError: 'rope' \(.*acme_calls\.py:8\)$"):
            process.call("acme_calls:fail")
        assert process.call("acme_calls:process") == first
        with pytest.raises(ProcessError, match=r"^its Python process exited with code 7: farewell$") as ended:
            process.call("acme_calls:leave")
        assert ended.value.last == "farewell"
        with pytest.raises(ProcessError, match=r"^its Python process was killed by signal 6 \(SIGABRT\)$"):
            process.call("acme_calls:die")
        second = process.call("acme_calls:process")
        with pytest.raises(ProcessError, match=r"^no answer within 0\.2 s$"):
            process.call("acme_calls:hang", seconds=0.2)
    assert first != second
    assert not psutil.pid_exists(second)


def test_what_is_printed_goes_into_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with PythonProcess(log=tmp_path / "the.log") as process, pytest.raises(ProcessError):
        process.call("acme_calls:fail")
    said = (tmp_path / "the.log").read_text(encoding="utf-8")
    assert said.startswith("so far so good\nTraceback")
    assert capfd.readouterr() == ("", "")


def test_temporary_files_of_a_process_that_is_killed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with PythonProcess(discard=True) as process:
        kept = Path(process.call("tempfile:mkdtemp"))
        with pytest.raises(ProcessError, match="SIGABRT"):
            process.call("acme_calls:die")
        assert not kept.exists()
        assert Path(process.call("tempfile:mkdtemp")).is_relative_to(temporary)
    assert not list(temporary.iterdir())
