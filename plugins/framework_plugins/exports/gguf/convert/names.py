"""The name inside a GGUF file, by which llama.cpp also tells how special tokens are read.

Tokenizers can have special tokens that swallow the space behind them; Phi-3's do. GGUF cannot store that. llama.cpp
does it where `general.name` holds "phi-3" or "phi3", and there it expects Phi-3's tokens: without them the file does
not open. So the name has to hold it for such tokenizers, and for no others, whatever a run is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PHI3 = re.compile(r"(phi)-?3", re.IGNORECASE)
_OF_PHI3 = "<|endoftext|>"
"""A token that llama.cpp looks for then."""


def inside(name: str, tokenizer: Mapping[str, Any]) -> str:
    """Return a run's name as its files may hold it.

    Args:
        name: of the run.
        tokenizer: a tokenizer.json.
    """
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    swallows = any(token["special"] and token["rstrip"] for token in added.values()) and _OF_PHI3 in added
    if swallows:
        return name if _PHI3.search(name) else f"{name} (Phi-3)"
    return _PHI3.sub(r"\1 3", name)
