"""llama.cpp in a process of its own: the same answers, and what fails there is a message here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from framework import FrameworkError
from framework_plugins.exports.llama import process
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.process import LlamaProcess
from tests.plugins.exports.conftest import Pair

FUNCTIONS = """
import os, signal
from framework import FrameworkError
def write(file, text): print("a lot"); open(file, "w").write(text)
def refuse(): raise FrameworkError("take\\nanother")
def fail(): print("so far so good"); raise KeyError("rope")
def die(): os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.fixture(autouse=True, scope="module")
def copies() -> None:
    """Let true processes do it."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the log; the functions above can be imported there."""
    (tmp_path / "acme_jobs.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "the.log"


def test_a_function_is_called_there_and_what_it_prints_is_dropped(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process.run_in_process("writing", "acme_jobs:write", log, file=str(log.with_name("new")), text="…")
    assert log.with_name("new").read_text(encoding="utf-8") == "…"
    assert not log.exists()
    assert capfd.readouterr() == ("", "")


def test_a_users_mistake_comes_through_as_it_is(log: Path) -> None:
    with pytest.raises(FrameworkError, match=r"^take\nanother$"):
        process.run_in_process("writing", "acme_jobs:refuse", log)
    assert not log.exists()


def test_another_error_is_reported_with_the_place_of_the_log(log: Path) -> None:
    told = r"writing failed: KeyError: 'rope' \(.*acme_jobs\.py:6\) \(full output: .*the\.log\)"
    with pytest.raises(FrameworkError, match=told):
        process.run_in_process("writing", "acme_jobs:fail", log)
    said = log.read_text(encoding="utf-8")
    assert "so far so good" in said
    assert "Traceback" in said


def test_a_process_that_is_killed_costs_an_error_and_no_more(log: Path) -> None:
    with pytest.raises(
        FrameworkError, match=r"writing failed: its Python process was killed by signal 6 \(SIGABRT\) \(full output"
    ):
        process.run_in_process("writing", "acme_jobs:die", log)


def test_it_answers_as_llama_in_this_process(tiny: Pair) -> None:
    with Llama(tiny.file, n_ctx=64) as here, LlamaProcess(tiny.file, n_ctx=64) as apart:
        ids = here.tokenize("Add the two numbers.")
        assert (apart.tokenize("Add the two numbers."), apart.stop_ids) == (ids, here.stop_ids)
        assert (apart.adds_bos, apart.chat_template) == (here.adds_bos, here.chat_template)
        assert apart.metadata("general.architecture") == "llama"
        assert np.array_equal(apart.logits(ids), here.logits(ids))
        assert apart.complete(ids, max_new_tokens=8) == here.complete(ids, max_new_tokens=8)
        assert apart.tokenize_prompt("Add") == here.tokenize_prompt("Add")
        rounded = here.logits(ids)
    with Llama(tiny.file, n_ctx=64, precise=True) as here, LlamaProcess(tiny.file, n_ctx=64, precise=True) as apart:
        assert np.array_equal(apart.logits(ids), here.logits(ids))
        assert not np.array_equal(apart.logits(ids), rounded)


def test_an_assertion_of_llama_cpp_is_a_message(tiny: Pair) -> None:
    with LlamaProcess(tiny.file) as llama:
        told = rf"llama\.cpp cannot work with {tiny.file.name}: .* signal 6 \(SIGABRT\): .*GGML_ASSERT\(n_tokens"
        with pytest.raises(FrameworkError, match=told):
            llama._ask("_decode", [1] * 1000, every=False)  # noqa: SLF001 - more than the context takes in one pass
        assert llama.tokenize("Add")
