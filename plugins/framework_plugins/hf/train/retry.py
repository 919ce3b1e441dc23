"""Which errors mean out of memory, and how a failed attempt is reverted: its memory and its random state."""

from __future__ import annotations

import gc
import traceback
from dataclasses import dataclass
from typing import Self

import torch

TOLD = (
    "DefaultCPUAllocator: can't allocate memory",  # Linux and macOS
    "DefaultCPUAllocator: not enough memory",  # Windows
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # no memory for the handle; later it is another fault
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What a RuntimeError says where no allocator of torch on a GPU was asked, which has an error of its own."""


def ran_out(error: BaseException) -> bool:
    """Whether an error means that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TOLD)


def forget(error: BaseException) -> None:
    """Let go of what the frames of an error hold: its traceback would keep all tensors of the failed try alive."""
    part: BaseException | None = error
    while part is not None:
        traceback.clear_frames(part.__traceback__)
        part = part.__context__


def release() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()


def on_gpu() -> bool:
    """Whether this process uses a GPU; asking does not make it use one."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Randomness:
    """The state of torch's random generators at one moment: dropout draws from them."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> Self:
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu() else None)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
