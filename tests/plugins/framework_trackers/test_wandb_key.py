"""Where the key of W&B is looked for."""

from pathlib import Path

import pytest

from framework_trackers.wandb_key import has_key


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key of this machine take part."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("env", "login", "expected"),
    [
        ({}, "", False),
        ({"WANDB_API_KEY": "x" * 40}, "", True),
        ({}, "machine api.wandb.ai login user password secret", True),
        ({"WANDB_BASE_URL": "https://wandb.acme.org:8080"}, "machine wandb.acme.org login user password x", True),
        ({"WANDB_BASE_URL": "https://wandb.acme.org"}, "machine api.wandb.ai login user password x", False),
        ({}, "machine", False),
    ],
)
def test_a_key_is_found_where_wandb_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], login: str, *, expected: bool
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(login, encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_key() is expected
