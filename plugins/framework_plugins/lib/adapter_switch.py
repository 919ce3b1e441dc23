"""Whether a model answers as its base at the moment."""

from __future__ import annotations

from contextlib import ExitStack

from framework.api import Model


class AdapterSwitch:
    """Lets a model be its base or itself. It changes only when the other is asked for.

    Switching an adapter off and on takes as long as a token of a small model.

    Args:
        model: with its trained weights.
        stack: restores the model when it is closed.
    """

    def __init__(self, model: Model, stack: ExitStack) -> None:
        self._model = model
        self._stack = stack
        self._is_base = False

    def use(self, *, base: bool) -> None:
        """Let the model be its base, or itself."""
        if base == self._is_base:
            return
        self._stack.close()
        if base:
            self._stack.enter_context(self._model.as_base())
        self._is_base = base
