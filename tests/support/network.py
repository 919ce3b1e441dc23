"""Refuses and records which hosts a program and its Python children ask for; only this machine is let through."""

from __future__ import annotations

from pathlib import Path

from tests.support.program import environment

SWITCHES = (
    "CI", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_DATASETS_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS", "MLFLOW_DISABLE_TELEMETRY", "TRANSFORMERS_OFFLINE",
    "UNSLOTH_DISABLE_STATISTICS", "WANDB_MODE",
)  # fmt: skip
"""Variables that keep libraries from asking: a user has none of them."""
SITE = """
import sys
import traceback

HOSTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
OWN = ("", "localhost", "127.0.0.1", "::1")


def refuse(event, arguments):
    if event not in HOSTS:
        return
    address = arguments[HOSTS[event]]
    host = address[0] if isinstance(address, tuple) else address if HOSTS[event] == 0 else ""  # else a Unix socket
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host not in OWN:
        with open(RECORD, "a") as record:
            record.write(f"{event} {host}\\n{''.join(traceback.format_stack()[:-1])}\\n")
        raise OSError(f"{host} is not asked in this test")


sys.addaudithook(refuse)  # which no library can go around, in any thread
"""


def watched(home: Path) -> tuple[dict[str, str], Path]:
    """Return the variables for a program that is watched, and the file that records who asked for which host."""
    record, site = home / "asked.txt", home / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"RECORD = {str(record)!r}{SITE}", encoding="utf-8")
    env = {name: value for name, value in environment(home).items() if name not in SWITCHES}
    path = [str(site), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": ":".join(path)}, record
