"""The run's own model as two speakers: the tuned one, and its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from framework import FrameworkError
from framework.api import Model, Prompt, SavedRun
from framework.api.program import restored
from framework.api.training import ModelSource
from framework_plugins.chat.session import BASE, TUNED, Speakers
from framework_plugins.lib.adapter_switch import AdapterSwitch


@contextmanager
def open_run_speakers(run: SavedRun, overrides: Sequence[str]) -> Iterator[Speakers]:
    """Open the model of a run with its trained weights, and free it at the end.

    Raises:
        FrameworkError: the run has no trained weights, or its model is not available.
    """
    with restored(run, overrides) as (plan, model), ExitStack() as stack:
        source: ModelSource = plan.model.create()
        context = _context(source.config_json())
        switch = AdapterSwitch(model, stack)
        reason = _no_base(model)
        names = [TUNED] if reason else [BASE, TUNED]
        speakers = {name: ModelSpeaker(name, model, switch, context) for name in names}
        yield Speakers(speakers, {BASE: reason} if reason else {})


def _context(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model was made to read; None if its config.json does not say."""
    length = (config.get("text_config") or config).get("max_position_embeddings")
    return length if isinstance(length, int) else None


def _no_base(model: Model) -> str:
    """Return why the model cannot answer as its base does; empty if it can."""
    try:
        with model.as_base():
            return ""
    except FrameworkError as error:
        return str(error)


class ModelSpeaker:
    """A model that a backend opened, as the speaker that `switch` makes of it."""

    def __init__(self, name: str, model: Model, switch: AdapterSwitch, context: int | None) -> None:
        self.name = name
        self.context = context
        self._model = model
        self._switch = switch

    def count(self, prompt: Prompt) -> int:
        """Return how many tokens a conversation has as the chat template writes it."""
        return len(self._model.tokenize(self._model.render(prompt)))

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer; another speaker may take the floor between two pieces."""
        pieces = self._model.stream(
            prompt, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        while (piece := self._next(pieces)) is not None:
            yield piece

    def _next(self, pieces: Iterator[str]) -> str | None:
        self._switch.use(base=self.name == BASE)
        return next(pieces, None)
