"""A `Problem` is one thing that is wrong with a plan, and the settings that it is about.

Problem(f"adapter.r={rank} is odd: set adapter.r={rank + 1}", ("adapter.r",))
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        text: a sentence with the key, the value and the fix.
        keys: the settings that it is about, as an override names them: `adapter`, `metric.polite.limit`. The message
            adds the place that set each. What a plugin says of a setting is left out if its value is invalid anyway.
        place: where it is, if no key leads there.
        missing_library: whether an option in `keys` lacks a library, which the program then does not report again.
    """

    text: str
    keys: tuple[str, ...] = ()
    place: str = ""
    missing_library: bool = False

    def __post_init__(self) -> None:
        """Refuse one text for the keys, which would be taken for its letters."""
        if isinstance(self.keys, str):
            raise TypeError(f"keys={self.keys!r} has to be a tuple: ({self.keys!r},)")
