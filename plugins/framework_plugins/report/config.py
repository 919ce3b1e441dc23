"""Options of `logger=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from framework.api import LoggerConfig


@dataclass
class HtmlConfig(LoggerConfig):
    """A page, `report.html` in the run folder: the data and what is learned from it, the training, the answers."""

    samples: Annotated[int, Ge(0)] = 20
    """How many prompts to show with the answers before and after."""
