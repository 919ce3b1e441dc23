"""Where the key of Weights & Biases is, without importing the library, and without ever giving the key itself."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlparse

KEY, ADDRESS = "WANDB_API_KEY", "WANDB_BASE_URL"


def address() -> str:
    """Return the address of the server."""
    return os.environ.get(ADDRESS) or "https://api.wandb.ai"


def key_place() -> str:
    """Return where a key is set, in the environment or by `wandb login`; empty where none is."""
    if os.environ.get(KEY):
        return KEY
    file = os.environ.get("NETRC")
    try:
        found = netrc.netrc(file).authenticators(urlparse(address()).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return ""
    return "" if found is None else str(file or Path("~/.netrc"))


def has_key() -> bool:
    """Whether a key is set; nothing is asked at a prompt."""
    return bool(key_place())
