"""How much memory a training takes: arithmetic over a model's config.json, without torch.

    shape = Shape.from_config(json.loads(Path("config.json").read_text()))
    estimate(shape, Settings(rows=2, length=2048, rank=16, weights=Weights.nf4)).allocated

Imports: `util`.
Start with `peak.py`, which puts together what a model is made of (`shape.py`), how it is trained (`settings.py`) and
the formulas with their sources (`terms.py`). docs/explanation/memory.md explains them and says how far off they are.
"""

from __future__ import annotations

from framework.memory.peak import Estimate, estimate, least
from framework.memory.settings import Attention, Loss, MemorySettings, Weights
from framework.memory.shape import Shape
from framework.memory.split import devices_of_layers

__all__ = [
    "Attention", "Estimate", "Loss", "MemorySettings", "Shape", "Weights", "devices_of_layers", "estimate", "least"
]  # fmt: skip
