"""The 4-bit weights that Unsloth publishes on the Hub: which models have them, by Unsloth's own table.

The table is read out of the installed package without importing it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan
from framework.api import installed
from framework.api.training import ModelPlace
from framework_plugins.hf.settings.config import LocalModelConfig, NF4Config
from framework_plugins.unsloth.config import UnslothTrainerConfig

TABLE_FILE, TABLE_NAME = "models/mapper.py", "FLOAT_TO_INT_MAPPER"
FOUR_BITS = "bnb-4bit"
COMPARED_FIELDS = ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
"""What weights and base have to agree in."""


@functools.cache
def table() -> Mapping[str, str]:
    """Return the ids of models, in small letters, with those of their 4-bit weights; empty without Unsloth.

    Raises:
        FrameworkError: the installed Unsloth has its table elsewhere.
    """
    package = importlib.util.find_spec("unsloth")
    if package is None or not package.submodule_search_locations:
        return {}
    try:
        module = runpy.run_path(str(Path(package.submodule_search_locations[0], TABLE_FILE)))
        entries: Mapping[str, str] = module[TABLE_NAME]
    except (OSError, KeyError) as error:
        raise FrameworkError(
            f"unsloth {installed('unsloth')} has no {TABLE_NAME} in {TABLE_FILE}, which lists its 4-bit weights: set "
            "trainer.optimised_checkpoints=false"
        ) from error
    return {name.lower(): checkpoint for name, checkpoint in entries.items() if checkpoint.endswith(FOUR_BITS)}


def published_weights(plan: Plan) -> str:
    """Return the id of the 4-bit weights that a run would take; empty if it takes none."""
    config, model = plan.trainer.config, plan.model.config
    if not isinstance(config, UnslothTrainerConfig) or not config.optimised_checkpoints:
        return ""
    if not isinstance(plan.quantization.config, NF4Config):
        return ""
    if not isinstance(model, LocalModelConfig) or model.revision is not None or Path(model.path).expanduser().is_dir():
        return ""
    return table().get(model.path.lower(), "")


def find_published_weights(plan: Plan, location: ModelPlace) -> tuple[ModelPlace | None, str]:
    """Look a model's 4-bit weights up, without fetching them.

    Returns:
        Where their config lies, None if they are not taken; and what is to be said of it, empty for nothing.
    """
    name = published_weights(plan)
    if not name:
        return None, ""
    try:
        checkpoint = source(name).fetch(weights=False)
    except FrameworkError as error:
        return None, f"quantized here: {name} is not available ({str(error).splitlines()[0]})"
    theirs, ours = (_config(folder) for folder in (checkpoint.folder, location.folder))
    differing = [key for key in COMPARED_FIELDS if theirs.get(key) != ours.get(key)]
    if differing:
        return None, f"quantized here: {name} differs from {location.name} in {', '.join(differing)}"
    if (theirs.get("quantization_config") or {}).get("bnb_4bit_quant_type") != "nf4":
        return None, f"quantized here: {name} is not in NF4"
    return checkpoint, f"{name}, quantized by Unsloth"


def source(name: str) -> Any:
    """Return the source of a model of the Hub."""
    from framework_plugins.hf.load.hub import LocalModel  # noqa: PLC0415 - the plan only looks into the table

    return LocalModel(LocalModelConfig(path=name))


def _config(folder: Path) -> Mapping[str, Any]:
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config
