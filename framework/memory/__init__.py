"""How much memory a training takes: arithmetic over a model's config.json, without torch.

    shape = Shape.from_config(json.loads(Path("config.json").read_text()))
    estimate(shape, Settings(rows=2, length=2048, rank=16, weights=Weights.nf4)).allocated

`shape.py` holds what a model is made of, `settings.py` how it is trained, `terms.py` the formulas with their sources,
and `peak.py` puts them together. docs/explanation/memory.md tells the same in words, with how far off it is.
"""

from __future__ import annotations

from framework.memory.peak import Estimate, estimate, least
from framework.memory.settings import Attention, Loss, Settings, Weights
from framework.memory.shape import Shape

__all__ = ["Attention", "Estimate", "Loss", "Settings", "Shape", "Weights", "estimate", "least"]
