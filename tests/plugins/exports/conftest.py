"""GGUF files that several tests read, each made once for a test process."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from framework_plugins.exports.llama.quantizations import quantize
from tests.support.copies import in_place_of_processes
from tests.support.ggufs import converted, tiny_model


@pytest.fixture(autouse=True, scope="module")
def copies() -> Iterator[None]:
    """Let conversions and llama.cpp run in copies of a Python that has imported torch."""
    with in_place_of_processes():
        yield


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
def newest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return llama.cpp's source tree, out of the newest source archive of llama-cpp-python; nothing is compiled."""
    folder, package = tmp_path_factory.mktemp("source"), "llama-cpp-python"
    pip = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), "--no-deps", "--no-binary", package]
    subprocess.run([*pip, package], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        wanted = [part for part in packed if {"conversion", "gguf-py"} & set(Path(part.name).parts[3:4])]
        packed.extractall(folder, wanted, filter="data")
    (tree,) = folder.glob("*/vendor/llama.cpp")
    return str(tree)
