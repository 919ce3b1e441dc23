"""Libraries that patch others have to be imported before them; see `Component.import_order`."""

from __future__ import annotations

import sys


def imported_too_late(order: tuple[str, ...]) -> list[str]:
    """Return the libraries that this process imported before the first one in `order`."""
    if not order or order[0] in sys.modules:
        return []
    return [name for name in order[1:] if name in sys.modules]
