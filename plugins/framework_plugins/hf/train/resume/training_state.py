"""The state of a training between two steps: read for a checkpoint, and restored.

In a group all processes have to ask together, and the first keeps the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import set_seed

from framework import FrameworkError
from framework.api import Guard, Step, summarize_error
from framework_plugins.hf.load.frozen import fixed_weights
from framework_plugins.hf.load.sharded_weights import full_tensor, local_shard, shard_like, trained_weights
from framework_plugins.hf.machine.optimizer_state import STATES, load_state, saved_state
from framework_plugins.hf.machine.out_of_memory import RandomState
from framework_plugins.hf.train.progress import Progress
from framework_plugins.hf.train.resume.checkpoints import STEP_FOLDER
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.lib.weight_files import shape_text

LIKE_WEIGHTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "sum")
"""States of torch's optimizers and of Adafactor, each of the shape of its weight; others have shapes of their own."""
WEIGHTS, BEST, FIXED = "weights.safetensors", "best.safetensors", "fixed.safetensors"
OPTIMIZER, OTHER_STATE = "optimizer.pt", "rest.pt"


class TrainingState:
    """The state of a training.

    Args:
        trainer: trains.
        progress: has its steps.
    """

    def __init__(self, trainer: SupervisedTrainer, progress: Progress) -> None:
        self.trainer = trainer
        self.progress = progress
        self.keeps = trainer.runner.world.is_first
        """Whether this process keeps what it reads."""
        self.all_gather = trainer.runner.world.all_gather
        self.random: Sequence[Any] = ()
        self.needed = 0
        """Bytes of what `read` has read last."""
        self.checkpoint: Path | None = None
        """From which the training resumes."""

    @property
    def step(self) -> int:
        """The number of steps that are done."""
        return int(self.trainer.state.global_step)

    @property
    def scaler(self) -> Any:
        """What scales gradients in fp16; None if nothing does."""
        return self.trainer.accelerator.scaler

    def loss_sum(self) -> float:
        """Return the sum of the losses of all steps so far, those before a checkpoint too."""
        losses = self.all_gather(float(self.trainer.loss_sum))
        return float(sum(losses) / len(losses))

    def read(self) -> Callable[[Path], None]:
        """Read it, and return what writes it into a folder."""
        best = self.progress.best
        weights = {name: self._full_tensor(weight) for name, weight in trained_weights(self.trainer.model)}
        pieces = best.shards()
        best_weights = {
            name: self._full_tensor(as_shard(pieces[name], weight)) for name, weight in self._named() if name in pieces
        }
        fixed = {name: weight.cpu().contiguous() for name, weight in fixed_weights(self.trainer.model)}
        optimizer = self._optimizer()
        now = RandomState.now()
        random = self.all_gather(now.plain())
        unlogged = self.all_gather(float(self.trainer.unlogged_loss))
        computed = sum(self.all_gather(self.trainer.computed_tokens))  # of these each process knows its own
        tensors = [
            *weights.values(),
            *best_weights.values(),
            *(value for state in optimizer[STATES].values() for value in state.values()),
        ]
        self.needed = sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor))
        other_state = {
            "step": self.step,
            "scheduler": self.trainer.lr_scheduler.state_dict(),
            "random": random,
            "counters": {
                "tokens": self.trainer.tokens,
                "supervised_tokens": self.trainer.supervised_tokens,
                "computed_tokens": computed,
            },
            "lost": self.loss_sum(),
            "seconds": self.progress.seconds,
            "steps": [dataclasses.asdict(step) for step in self.progress.reported],
            "best": best.step,
            "loss metrics": self.trainer.metrics,
            "rollouts": self.trainer.rollouts.state() if self.trainer.rollouts else None,
            "log entry": (sum(unlogged) / len(unlogged), self.trainer.logged_step),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "run": dict(self.progress.run.state()) if self.keeps else {},
        }

        def write(folder: Path) -> None:
            save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
            if fixed:
                save_file(fixed, folder / FIXED)
            if best_weights:
                save_file({name: value.contiguous() for name, value in best_weights.items()}, folder / BEST)
            with self._optimizer_guard("its state cannot be saved"):
                torch.save(optimizer, folder / OPTIMIZER)
            torch.save(other_state, folder / OTHER_STATE)

        return write

    def _named(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(trained_weights(self.trainer.model))

    def _full_tensor(self, weight: torch.Tensor) -> torch.Tensor:
        """Return a whole weight, where this process keeps it; else something small."""
        full = full_tensor(weight)
        return full if self.keeps else full.new_empty(0)

    def _optimizer(self) -> dict[str, Any]:
        names = {weight: name for name, weight in self._named()}
        with self._optimizer_guard("its state cannot be read"):
            return saved_state(self.trainer.optimizer.optimizer, names, self._full_tensor)

    def _optimizer_guard(self, problem: str) -> Guard:
        return Guard(f"{self.trainer.options.place}: {problem}")

    def restore(self) -> None:
        """Put back what the checkpoint holds; random numbers wait until `restore_random`.

        Raises:
            FrameworkError: it holds something else than the state of this training.
        """
        assert self.checkpoint is not None  # noqa: S101 - a training that resumes has one
        with _report_damage(self.checkpoint):
            self._restore(self.checkpoint)

    def _restore(self, folder: Path) -> None:
        state, named = self.trainer.state, dict(self._named())
        other_state = torch.load(folder / OTHER_STATE, weights_only=True)
        # Those of earlier versions have the step in the name only.
        state.global_step = int(other_state.get("step", folder.name.rpartition("-")[2]))
        state.epoch = state.global_step / self.trainer.epoch_steps
        if folder.name != STEP_FOLDER.format(state.global_step):
            raise ValueError(f"its step is {state.global_step}")
        if state.global_step >= state.max_steps:
            raise ValueError(f"the training has {state.max_steps} steps")
        weights = load_file(folder / WEIGHTS)
        if {name: value.shape for name, value in weights.items()} != {
            name: weight.shape for name, weight in named.items()
        }:
            raise ValueError(f"{WEIGHTS} has other weights")
        for name, value in weights.items():
            local_shard(named[name].data).copy_(local_shard(shard_like(value, named[name])))
        if fixed := dict(fixed_weights(self.trainer.model)):  # they were computed, perhaps on another machine
            for name, value in load_file(folder / FIXED).items():
                fixed[name].copy_(value)
        self._restore_optimizer(folder, named)
        self.trainer.lr_scheduler.load_state_dict(other_state["scheduler"])
        self.random = other_state["random"]
        if self.scaler and other_state["scaler"]:
            self.scaler.load_state_dict(other_state["scaler"])
        for name, value in other_state["counters"].items():
            setattr(self.trainer, name, value if self.keeps else 0)
        self.trainer.metrics = other_state["loss metrics"]
        if self.trainer.rollouts:
            self.trainer.rollouts.restore(other_state["rollouts"])
        loss, self.trainer.logged_step = other_state["log entry"]
        self.trainer.unlogged_loss += loss
        # In the same precision as before, so that the sum comes to the same digits.
        self.trainer.loss_sum = torch.tensor(other_state["lost"], device=self.trainer.args.device)
        if other_state["best"] is not None:
            file = folder / BEST
            pieces = load_file(file) if file.exists() else {}
            self.progress.best.set_aside(
                other_state["best"],
                {name: local_shard(shard_like(value, named[name])) for name, value in pieces.items()},
            )
        if self.keeps:
            self.progress.run.restore(other_state["run"])
        self.progress.resumed(other_state["seconds"], [Step(**step) for step in other_state["steps"]])

    def _restore_optimizer(self, folder: Path, named: dict[str, torch.nn.Parameter]) -> None:
        plain = self.trainer.optimizer.optimizer
        saved = torch.load(folder / OPTIMIZER, weights_only=True)
        names = {weight: name for name, weight in named.items()}
        for name, weight in named.items():
            for key, value in saved[STATES][name].items():
                if key in LIKE_WEIGHTS and value.shape != weight.shape:
                    saved_shape, expected_shape = shape_text(value.shape), shape_text(weight.shape)
                    raise ValueError(f"{OPTIMIZER} has {key} of {saved_shape} for {name} of {expected_shape}")
        load_state(plain, saved, names, shard_like)

    def restore_random(self) -> None:
        """Restore the random state of this process; processes that are new get a new one, each a different one."""
        world = self.trainer.runner.world
        if len(self.random) == world.size:
            RandomState(*self.random[world.rank]).restore()
        else:
            set_seed(self.trainer.args.seed + self.step * world.size + world.rank)


@contextmanager
def _report_damage(checkpoint: Path) -> Iterator[None]:
    """Turn what a forged checkpoint, whose hashes are right, has libraries raise into one line."""
    try:
        yield
    except (torch.OutOfMemoryError, FrameworkError):
        raise
    except Exception as error:
        raise FrameworkError(
            f"{checkpoint} does not hold the state of this training ({summarize_error(error)}): remove it to continue "
            "from an earlier checkpoint, or from the beginning"
        ) from error


def as_shard(piece: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a piece that was set aside as a part of the weight that it is a piece of."""
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - for groups

    if not isinstance(weight, DTensor):
        return piece
    moved = piece.to(weight.to_local().device)
    return DTensor.from_local(
        moved, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )
