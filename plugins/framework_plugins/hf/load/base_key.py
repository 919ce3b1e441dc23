"""What the answers of a base depend on: trials of a sweep with the same key evaluate the base once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from framework.api.plan import Plan
from framework.api.schema import Affects
from framework_plugins.hf.load import base_cache
from framework_plugins.hf.load.adapters import trained_config
from framework_plugins.hf.packing.eligibility import Way


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
    return base_cache.key_of(folder, encoding, plan.affecting(Affects.base), dict(facts), str(way))
