"""hf/machine/out_of_memory.py: which errors mean that memory ran out, and what is left of one."""

from __future__ import annotations

import io
import platform
import random
import weakref

import numpy as np
import psutil
import pytest
import torch

from framework.api import is_out_of_memory
from framework_plugins.hf.machine.out_of_memory import RandomState, clear_frames, free_memory

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4."
)


@pytest.mark.parametrize(
    ("error", "yes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError(CPU), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm(handle, …)`"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_an_error_is_known_by_its_kind_and_text(error: Exception, yes: bool) -> None:  # noqa: FBT001
    assert is_out_of_memory(error) is yes


def test_what_the_frames_of_an_error_hold_is_let_go() -> None:
    refs = []

    def inner() -> None:
        tensor = torch.ones(3)
        refs.append(weakref.ref(tensor))
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        inner()
    assert refs[0]() is not None
    clear_frames(caught.value)
    assert refs[0]() is None
    assert caught.value.__traceback__ is not None


def test_random_numbers_come_again() -> None:
    before = RandomState.now()
    first = torch.rand(3), np.random.rand(), random.gauss(0, 1)  # noqa: NPY002 - the global one
    file = io.BytesIO()
    torch.save(before.plain(), file)
    RandomState(*torch.load(io.BytesIO(file.getvalue()), weights_only=True)).restore()
    assert torch.equal(torch.rand(3), first[0])
    assert (np.random.rand(), random.gauss(0, 1)) == first[1:]  # noqa: NPY002 - as above


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another heap")
def test_what_is_freed_between_kept_blocks_is_given_back() -> None:
    blocks = [b"1" * 2**16 for _ in range(1600)]  # each below what glibc gives pages of its own
    kept = blocks[::20]
    del blocks
    before = psutil.Process().memory_info().rss
    free_memory()
    assert before - psutil.Process().memory_info().rss > 60 * 2**20
    assert len(kept) == 80
