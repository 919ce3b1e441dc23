"""peft, imported without bitsandbytes: it imports that for every adapter, quantized or not, which takes a second.

Whatever imports peft in a run comes after this module.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import transformers.modeling_utils  # noqa: F401 - peft imports it, and it may ask for bitsandbytes


@contextlib.contextmanager
def without_bitsandbytes() -> Iterator[None]:
    """Let peft find no bitsandbytes meanwhile, unless a quantized model or an optimizer has imported it already."""
    if "bitsandbytes" in sys.modules:
        yield
        return
    _forget()
    # peft imports it for every adapter, and remembers whether it is there.
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment] # which makes its import fail
    try:
        yield
    finally:
        del sys.modules["bitsandbytes"]
        _forget()


def _forget() -> None:
    """Let peft ask again whether it is installed."""
    module = sys.modules.get("peft.import_utils")
    for name in ("is_bnb_available", "is_bnb_4bit_available") if module else ():
        getattr(module, name).cache_clear()


with without_bitsandbytes():
    import peft  # noqa: F401 - for what this does
