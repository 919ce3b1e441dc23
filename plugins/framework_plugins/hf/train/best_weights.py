"""The weights of the best validation, set aside while the training continues, and restored at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from framework import FrameworkError
from framework.api import describe_room, write_failure
from framework_plugins.hf.load.sharded_weights import local_shard, trained_weights

FILE_NAME = "best-{}.safetensors"


class BestWeights:
    """An adapter's weights are copied into the memory of the CPU, all weights of a model into a file.

    Of weights that lie in pieces each process keeps its own.

    Args:
        model: is trained.
        folder: for the file.
        rank: of the process in its group.
    """

    def __init__(self, model: Any, folder: Path, rank: int = 0) -> None:
        self.model = model
        self.file = folder / FILE_NAME.format(rank)
        self.step: int | None = None
        self.on_cpu: dict[str, torch.Tensor] = {}

    def _trained(self) -> dict[str, torch.Tensor]:
        return {name: local_shard(weight.data) for name, weight in trained_weights(self.model)}

    def set_aside(self, step: int, shards: dict[str, torch.Tensor] | None = None) -> None:
        """Set the weights aside as they are after a step, or `shards`, which an earlier process has set aside.

        Raises:
            FrameworkError: the file does not fit.
        """
        self.step, weights = step, self._trained() if shards is None else shards
        if isinstance(self.model, PeftModel):
            self.on_cpu = {name: weight.to("cpu", copy=True) for name, weight in weights.items()}
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: weight.contiguous() for name, weight in weights.items()}, self.file)
        except Exception as error:
            if not (reason := write_failure(error)):
                raise
            raise FrameworkError(
                f"step {step}: the best weights so far do not fit into {self.file.parent}: {reason} "
                f"({describe_room(self.file.parent)}).\nSet run_dir=FOLDER on a larger disk, or trainer.keep_best=false"
            ) from error

    def shards(self) -> dict[str, torch.Tensor]:
        """Return what was set aside here."""
        if self.on_cpu or self.step is None:
            return self.on_cpu
        return load_file(self.file)

    def restore(self, step: int) -> None:
        """Put the weights back that were set aside last; nothing if they are those of the last step, `step`."""
        if self.step in {None, step}:
            return
        if self.on_cpu:
            for name, weight in self._trained().items():
                weight.copy_(self.on_cpu[name])
            return
        with safe_open(self.file, framework="pt") as file:
            for name, weight in self._trained().items():
                weight.copy_(file.get_tensor(name))
