"""For authors of trainers that are built on `trainer=hf` and change a part of it. Provisional.

    class Mine(SupervisedTrainer): …                     # a method of the trainer, which is TRL's
    class MineModel(HFModel): trainer_class = Mine
    class MineBackend(HFBackend): model_class = MineModel

`Component("mine", MineConfig, "acme:MineBackend")` with a subclass of `HFTrainerConfig` makes it `trainer=mine`.
"""

from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.settings.memory_plan import footprint
from framework_plugins.hf.train.trainer import SupervisedTrainer

__all__ = ["HFBackend", "HFModel", "HFTrainerConfig", "SupervisedTrainer", "footprint"]
