"""For authors of trainers that are built on `trainer=hf` and change a part of it. Provisional.

    class Mine(SupervisedTrainer): …                     # a method of the trainer
    class MineModel(HFModel): trainer_class = Mine
    class MineBackend(HFBackend): model_class = MineModel

`Component("mine", MineConfig, "acme:MineBackend")` with a subclass of `HFTrainerConfig` makes it `trainer=mine`. A
trainer with a training of its own subclasses `TransformersTrainerConfig` and overrides `HFModel.train`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from framework_plugins.hf.settings.config import (
    Device,
    FullConfig,
    HFTrainerConfig,
    LoraAdapterConfig,
    OutOfMemory,
    Packing,
    ShuffledConfig,
    Switch,
    TransformersTrainerConfig,
)
from framework_plugins.hf.settings.library_fields import NO_EFFECT, ONLY_HF, SFT_SETTINGS
from framework_plugins.hf.settings.memory_plan import footprint

if TYPE_CHECKING:
    from framework_plugins.hf.backend import HFBackend
    from framework_plugins.hf.machine.hardware import Hardware, peak_memory
    from framework_plugins.hf.machine.out_of_memory import free_memory
    from framework_plugins.hf.machine.precision import with_gradients
    from framework_plugins.hf.model import HFModel
    from framework_plugins.hf.packing.eligibility import ForwardPlan
    from framework_plugins.hf.train.best_weights import BestWeights
    from framework_plugins.hf.train.options import TrainingOptions
    from framework_plugins.hf.train.resume.checkpoints import Checkpoints
    from framework_plugins.hf.train.step_reporter import StepReporter
    from framework_plugins.hf.train.trainer import SupervisedTrainer

__all__ = [
    "NO_EFFECT",
    "ONLY_HF",
    "SFT_SETTINGS",
    "BestWeights",
    "Checkpoints",
    "Device",
    "ForwardPlan",
    "FullConfig",
    "HFBackend",
    "HFModel",
    "HFTrainerConfig",
    "Hardware",
    "LoraAdapterConfig",
    "OutOfMemory",
    "Packing",
    "ShuffledConfig",
    "StepReporter",
    "SupervisedTrainer",
    "Switch",
    "TrainingOptions",
    "TransformersTrainerConfig",
    "footprint",
    "free_memory",
    "peak_memory",
    "with_gradients",
]
# With torch, which the plan and `--help` do without: imported when one of them is asked for.
_MODULES = {
    "HFBackend": "backend", "Hardware": "machine.hardware", "peak_memory": "machine.hardware",
    "free_memory": "machine.out_of_memory",
    "with_gradients": "machine.precision", "HFModel": "model", "ForwardPlan": "packing.eligibility",
    "BestWeights": "train.best_weights", "TrainingOptions": "train.options",
    "Checkpoints": "train.resume.checkpoints", "SupervisedTrainer": "train.trainer",
    "StepReporter": "train.step_reporter",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("framework_plugins.hf.backend")  # first: it sets what torch reads when it is imported
    return getattr(importlib.import_module(f"framework_plugins.hf.{_MODULES[name]}"), name)
