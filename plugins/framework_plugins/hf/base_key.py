"""What the answers of a base depend on: trials of a sweep with the same key evaluate the base once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from framework.api.plan import Plan
from framework_plugins.hf import shared
from framework_plugins.hf.adapters import trained_config
from framework_plugins.hf.packing.admits import Way

LEARNING = {
    "learning_rate", "num_train_epochs", "max_steps", "gradient_accumulation_steps", "warmup_steps",
    "lr_scheduler_type", "optim", "weight_decay", "max_grad_norm", "logging_steps", "eval_steps",
    "early_stopping_patience", "early_stopping_metric", "keep_best",
}  # fmt: skip
"""Settings of the trainer that are about learning, so nothing to the base."""


def base_key(plan: Plan, facts: Mapping[str, str], way: Way, folder: Path, encoding: str) -> str:
    """Return a hash over all that the base's answers depend on; empty where the weights themselves are trained.

    Of the adapter its kind counts, which tells how layers are replaced; with the adapter off its weights do not.

    Args:
        plan: the run.
        facts: what was picked for this machine.
        way: how rows go through the model.
        folder: the base.
        encoding: stands for tokenizer, template and masks.
    """
    if trained_config(plan) is None or plan.launch.config.group():
        return ""
    trainer = {name: value for name, value in plan.trainer.settings.items() if name not in LEARNING}
    chosen = plan.exact("model", "quantization", "given")
    options = [choice.component.name for choice in (plan.adapter, plan.trainer)]
    layers = getattr(plan.adapter.config, "target_modules", None)
    computed = dict(facts), str(way)
    return shared.key_of(folder, encoding, options, chosen, trainer, layers, *computed)
