"""Whether a server can be reached at all: asked once, quickly, before a library spends half a minute on retries."""

from __future__ import annotations

import functools
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

TIMEOUT = 3.0


@functools.cache
def reachable(url: str) -> bool:
    """Open a connection to the host of `url` and close it; behind a proxy the answer is always yes."""
    parts = urlsplit(url)
    if parts.scheme in getproxies():  # a proxy answers for every host
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=TIMEOUT).close()
    except OSError:
        return False
    return True
