"""`trainer=trl`: opens a model as `trainer=hf` does, with plain layers, so that what TRL trains is what others load."""

from __future__ import annotations

import dataclasses
from typing import Any

from framework import Plan, Stage
from framework_plugins.hf.extend import ForwardPlan, Hardware, HFBackend, HFModel
from framework_plugins.trl_trainer.model import TrlModel
from framework_plugins.trl_trainer.scoring_model import ScoringModel


class TrlBackend(HFBackend):
    """Opens models whose training is TRL's."""

    model_class = TrlModel

    def _open_model(self, plan: Plan) -> HFModel:
        if not plan.training.answers():
            self.model_class = ScoringModel
        model = super()._open_model(plan)
        if isinstance(model, ScoringModel):
            model.check(model.place, trust=plan.model.config.trust_remote_code)
        if Stage.train in plan.stages:
            assert isinstance(model, TrlModel)  # noqa: S101 - `model_class`
            model.arguments(plan.run_dir / "trl")  # TRL's own checks, before the data are read
        return model

    def forward_plan(self, plan: Plan, machine: Hardware, empty: Any, attention: str) -> tuple[ForwardPlan, str]:
        """Leave the layers as transformers and peft have them."""
        chosen, _ = super().forward_plan(plan, machine, empty, attention)
        return dataclasses.replace(chosen, branch_attention=False, unfused=""), "TRL's, by trainer.args"
