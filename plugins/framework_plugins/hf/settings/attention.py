"""Which attention a GPU takes for rows in a tree: decided here for the plan, which has a config, and for the model."""

from __future__ import annotations

from importlib.util import find_spec


def flex_problem(
    *, requested: str = "", keeps_states: bool = False, needs_masks: bool = False, triton: bool | None = None
) -> str:
    """Say why a GPU does not take FlexAttention with block masks for trees; empty if it does.

    Args:
        requested: the attention that is set, if it is not left to this choice.
        keeps_states: whether some layers keep a state.
        needs_masks: whether the model has windows that only masks say.
        triton: whether it is installed; None: look for it here.
    """
    if requested:
        return f"as attention={requested} reads it"
    if keeps_states:
        return "since some layers keep a state"
    if needs_masks:
        return "since only its masks have its windows"
    installed = find_spec("triton") is not None if triton is None else triton
    return "" if installed else "since triton is not installed"
