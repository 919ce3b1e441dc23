"""W&B as on a machine that never used it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VARIABLES = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_RELOGIN")


@contextmanager
def nobodys(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """Let no key or setting of this machine take part; they would lie in `home`. W&B's service ends in the end."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home))
    yield
    if library := sys.modules.get("wandb"):
        library.teardown()


def save_key(home: Path, machine: str, key: str) -> Path:
    """Save a key as `wandb login` does, and return the file."""
    file = home / "netrc"
    file.write_text(f"machine {machine}\n  login user\n  password {key}\n", encoding="utf-8")
    file.chmod(0o600)
    return file


def save_settings(home: Path, **settings: str) -> None:
    """Save settings as `wandb login --host` and `wandb offline` do."""
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (home / "settings").write_text("\n".join(["[default]", *lines, ""]), encoding="utf-8")
