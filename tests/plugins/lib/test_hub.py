"""lib/hub.py: each download has its own lines; tests/plugins/hf/load/test_hub.py has a Hub that drips or refuses."""

from __future__ import annotations

from typing import Any

import pytest

from framework_plugins.lib import hub


def test_a_download_that_ends_leaves_the_lines_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []

    def download(repo: str, *, tqdm_class: Any, **_: object) -> str:
        tqdm_class(total=1000, unit="B").update(500)
        if repo == "acme/model":
            hub.ask_hub(download, "acme/adapter", None, setting="adapter.start=acme/adapter")
        lines.append(tqdm_class.line(4.0))
        return ""

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "reachable", lambda _: True)
    hub.ask_hub(download, "acme/model", None, setting="model.path=acme/model")
    assert lines == ["downloading, 500B of 1.00kB  0:04 left"] * 2
