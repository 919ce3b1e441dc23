"""support/network.py: threads and children are refused and recorded, and loopback is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.loopback import Handler, Loopback
from tests.support.network import watched

ASKS = """
import socket, subprocess, sys, threading
from urllib.parse import urlsplit

def ask(host, port=80):
    try:
        socket.create_connection((host, port), 5).close()
    except OSError as error:
        print(error)

thread = threading.Thread(target=ask, args=("thread.invalid",))
thread.start(), thread.join()
subprocess.run([sys.executable, "-c", "import socket; socket.socket().connect(('203.0.113.1', 80))"], stderr=-3)
url = urlsplit(sys.argv[1])
ask(url.hostname, url.port)
"""


class Silent(Loopback):
    handler = Handler


def test_who_asks_for_a_host_is_refused_and_recorded(tmp_path: Path) -> None:
    env, record = watched(tmp_path)
    command = [sys.executable, "-c", ASKS]
    with Silent() as server:
        done = subprocess.run([*command, server.url], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "thread.invalid is not asked in this test\n"
    asked = [line for line in record.read_text(encoding="utf-8").splitlines() if line.startswith("socket.")]
    assert asked == ["socket.getaddrinfo thread.invalid", "socket.connect 203.0.113.1"]
