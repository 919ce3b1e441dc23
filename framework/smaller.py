"""A smaller model, where nothing else makes a run fit: of the presets, the largest that does."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import OmegaConf

from framework.api.component import GROUPS
from framework.api.plan import Selection
from framework.api.protocols import ModelSource
from framework.api.records import FitChange, Verdict
from framework.config.catalog import presets
from framework.config.compose import CONFIG_NAME, config_loader
from framework.hooks.manager import components
from framework.memory import Shape
from framework.outlook import Outlook
from framework.util.errors import one_line

BILLION = 1e9
log = logging.getLogger(__name__)


def smaller_model(outlook: Outlook) -> FitChange | None:
    """Return the largest preset that fits; None where none does, or none of them tells its size from here.

    A preset of the same family, `model_type` of config.json, goes before one of another. It is named and never taken:
    which model is tuned is not for a program to decide.

    Args:
        outlook: a run that does not fit, with every change that helps.
    """
    settings = outlook.settings
    if settings is None:
        return None
    found = []
    for name, shape in _presets():
        other = dataclasses.replace(outlook, shape=shape)
        if shape.total >= outlook.shape.total or other.settings is None:
            continue
        made = other.estimate(other.settings)
        if other.verdict(made) is Verdict.fits:
            found.append((shape.family == outlook.shape.family, shape.total, name, made.reserved))
    if not found:
        return None
    _, parameters, name, reserved = max(found)
    sizes = f"{parameters / BILLION:.1f} instead of {outlook.shape.total / BILLION:.1f} billion parameters"
    saved = outlook.estimate(settings).reserved - reserved
    return FitChange([f"model={name}"], saved, f"another model, of {sizes}", Verdict.fits)


def _presets() -> Iterator[tuple[str, Shape]]:
    """Give the model presets whose config.json can be had, with its shape."""
    with config_loader() as loader:
        shapes = [(name, _shape(loader, name)) for name in presets(GROUPS["model"], loader)]
    yield from ((name, shape) for name, shape in shapes if shape)


def _shape(loader: ConfigLoader, name: str) -> Shape | None:
    """Return what the model of a preset is made of; None where that cannot be had from here."""
    by_schema = {component.schema: component for component in components("model").values()}
    try:
        node = loader.load_configuration(CONFIG_NAME, [f"model={name}"], RunMode.RUN).model
        source: ModelSource = Selection(by_schema[OmegaConf.get_type(node)], OmegaConf.to_object(node)).create()
        return Shape.from_config(source.config_json())
    except Exception as error:  # noqa: BLE001 - gated, not on this machine, unfinished: of no use to this run, nor a harm
        log.info("model=%s is passed over: %s", name, one_line(error))
        return None
