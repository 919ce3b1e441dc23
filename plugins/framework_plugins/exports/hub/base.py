"""The base of a run by its id on the Hub, which others can load: a folder of this machine tells nobody."""

from __future__ import annotations

import re
from pathlib import Path

from framework import Plan
from framework.api.training import ModelPlace
from framework_plugins.exports.config import ModelCardExporterConfig, is_repo_id
from framework_plugins.exports.export_folder import README

_IN_CARD = re.compile(r"\A---\n(?:.*\n)*?base_model: (?P<id>\S+)\n")
"""The base in the front matter of a model card."""


def base_id(plan: Plan) -> str:
    """Return the id of the base of a plan; empty if it is unknown."""
    return given_id(plan) or id_of(plan.model.create().fetch(weights=False))


def given_id(plan: Plan) -> str:
    """Return the id that the settings of the model card give; empty if they give none."""
    card = plan.exporter.get("model_card")
    return (card.config.base_model or "") if card and isinstance(card.config, ModelCardExporterConfig) else ""


def unknown_base(adapter: str, plan: Plan) -> str:
    """Say how to name the base of an adapter that is pushed."""
    others = [name for name in plan.exporter if name != "push"]
    add = "" if "model_card" in others else f"exporter=[{','.join([*others, 'model_card', 'push'])}] and "
    return (
        f"{adapter} names a folder of this machine as its base, which nobody else has: set {add}"
        "exporter.model_card.base_model=owner/name"
    )


def id_of(location: ModelPlace) -> str:
    """Return the id of a model; empty if it is unknown."""
    on_hub = is_repo_id(location.name) and not Path(location.name).is_dir()
    return location.name if on_hub else location.copy_of


def id_in_card(folder: Path) -> str:
    """Return the id of the base in the model card that an earlier export wrote into a folder; empty without one."""
    file = folder / README
    match = _IN_CARD.match(file.read_text(encoding="utf-8")) if file.is_file() else None
    return match["id"] if match else ""
