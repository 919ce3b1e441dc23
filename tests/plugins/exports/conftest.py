"""GGUF files that several tests read, each made once for a test process, and conversions by a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from framework_plugins.exports.convert import apart, converter
from framework_plugins.exports.llama.quantize import quantize
from tests.support.forks import Call, Forks
from tests.support.ggufs import converted, tiny_model

CONVERTER = ("conversion", "framework_plugins.exports.convert.model", "transformers.models.llama.configuration_llama")
"""What takes nearly all the seconds of a small conversion to import."""


class Pair(NamedTuple):
    """A transformers folder, and the same model in 32 bits as GGUF."""

    folder: Path
    file: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a random Llama with Llama 3's tokens."""
    target = tmp_path_factory.mktemp("tiny-gguf")
    folder = tiny_model(target / "llama", "llama")
    return Pair(folder, converted([folder], target)["llama"])


@pytest.fixture(scope="session")
def q4(tiny: Pair) -> Path:
    """Return it in Q4_K_M."""
    target = tiny.file.with_name("q4.gguf")
    quantize(tiny.file, target, "q4_k_m", threads=1)
    return target


@pytest.fixture(scope="session")
def converters() -> Forks:
    """Return a Python with llama.cpp's converter."""
    path = os.pathsep.join([str(converter.package_root()), *filter(None, sys.path)])
    return Forks({**os.environ, **apart.QUIET, "PYTHONPATH": path}, *CONVERTER)


@pytest.fixture
def forked(converters: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fork be what `apart` has as a process of its own; test_apart.py has true ones."""

    def run(command: list[str], **options: Any) -> SimpleNamespace | subprocess.CompletedProcess[str]:
        if command[1] != "-P":  # a script
            return subprocess.run(command, **options)  # noqa: PLW1510 - as it was called
        job, log = tmp_path / "job.json", options["stdout"].name
        job.write_text(options["input"], encoding="utf-8")
        call = Call(command[2:], str(Path.cwd()), options["env"], str(job), log, log)
        return SimpleNamespace(returncode=converters.run(call, timeout=300))

    monkeypatch.setattr(apart, "subprocess", SimpleNamespace(run=run, STDOUT=subprocess.STDOUT))
