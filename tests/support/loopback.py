"""What the stand-ins for servers have in common: a free port of this machine, and a handler that says nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self


class Loopback:
    """Serves while it is entered; `url` is where. A subclass names its `handler`, which finds it as `server.owner`."""

    handler: ClassVar[type[BaseHTTPRequestHandler]]
    url = ""

    def __enter__(self) -> Self:
        """Start to serve on a free port."""
        self._server = Server(self, self.handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop to serve and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server(ThreadingHTTPServer):
    """Belongs to a stand-in; a client that has gone is not a fault, and is not waited for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what is a fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, and writes no log."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def start(self, status: int, headers: Mapping[str, str], length: int) -> None:
        """Send all that is before a body of `length` bytes."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
