"""The weights of the best validation, set aside while the training continues, and restored at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from framework.api.errors import FrameworkError
from framework.api.files import describe_room, write_failure
from framework_plugins.hf.train.distributed.weights import local, trained

FILE = "best-{}.safetensors"


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
        self.file = folder / FILE.format(rank)
        self.step: int | None = None
        self.kept: dict[str, torch.Tensor] = {}

    def _trained(self) -> dict[str, torch.Tensor]:
        return {name: local(weight.data) for name, weight in trained(self.model)}

    def keep(self, step: int) -> None:
        """Set the weights aside as they stand after a step.

        Raises:
            FrameworkError: the file does not fit.
        """
        self.step = step
        if isinstance(self.model, PeftModel):
            self.kept = {name: weight.to("cpu", copy=True) for name, weight in self._trained().items()}
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: weight.contiguous() for name, weight in self._trained().items()}, self.file)
        except Exception as error:
            if not (reason := write_failure(error)):
                raise
            raise FrameworkError(
                f"step {step}: the best weights so far do not fit into {self.file.parent}: {reason} "
                f"({describe_room(self.file.parent)}).\nSet run_dir=FOLDER on a larger disk, or trainer.keep_best=false"
            ) from error

    def pieces(self) -> dict[str, torch.Tensor]:
        """Return what was set aside here."""
        if self.kept or self.step is None:
            return self.kept
        return load_file(self.file)

    def put(self, step: int, pieces: dict[str, torch.Tensor]) -> None:
        """Set aside what another process did after a step."""
        self.step = step
        if isinstance(self.model, PeftModel):
            self.kept = {name: weight.to("cpu", copy=True) for name, weight in pieces.items()}
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        save_file(pieces, self.file)

    def restore(self, step: int) -> None:
        """Put the weights back that were set aside last; nothing where they are those of the last step, `step`."""
        if self.step in {None, step}:
            return
        if self.kept:
            for name, weight in self._trained().items():
                weight.copy_(self.kept[name])
            return
        with safe_open(self.file, framework="pt") as file:
            for name, weight in self._trained().items():
                weight.copy_(file.get_tensor(name))
