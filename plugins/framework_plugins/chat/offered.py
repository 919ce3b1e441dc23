"""A speaker of a plugin, `chat RUN_DIR --NAME [WORD]`: it answers instead of the run's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from framework import Component
from framework.api import SavedRun
from framework.api.program import SpeakerSource
from framework_plugins.chat.session import BASE, TUNED, Speakers


@contextmanager
def offered(component: Component, run: SavedRun, word: str) -> Iterator[Speakers]:
    """Open the speaker of a component.

    Raises:
        FrameworkError: a library is missing, or what the speaker needs of the run is not there.
    """
    source: SpeakerSource = component.load()(component.schema())
    with source.open(run, word) as speaker:
        reason = f"only {speaker.name} answers here: leave --{component.name} out to talk to the model itself"
        yield Speakers({speaker.name: speaker}, {BASE: reason, TUNED: reason})
