"""One thing that is wrong with a config."""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCATED = re.compile(r"(?<![\w.])([a-z_]\w*(?:\.\w+)*)=")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, the keys that it is about, and the place if that is known already.

    `unreadable` says that a value has another type than its field, so that code which reads the config may fail.
    """

    text: str
    keys: tuple[str, ...] = ()
    where: str = ""
    unreadable: bool = False

    @classmethod
    def of_sentence(cls, text: str) -> Problem:
        """Take a sentence of a plugin: the keys are those that are before its first colon as `key=value`."""
        return cls(text, tuple(dict.fromkeys(LOCATED.findall(text.partition(": ")[0]))))
