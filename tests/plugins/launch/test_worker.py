"""A worker that no run started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from framework_plugins.launch import worker
from framework_plugins.lib.group_member import PLACE, WORKER


@pytest.mark.parametrize("known", [(), PLACE], ids=["by hand", "by torchrun"])
def test_without_a_job_it_says_what_starts_it(
    known: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (WORKER, *PLACE):
        monkeypatch.delenv(name, raising=False)
    for name in known:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv(WORKER, "1")  # main sets it, and the monkeypatch takes it away again
    monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path)])
    assert worker.main() == 2
    assert capsys.readouterr().err == f"{worker.ALONE}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_gone_is_reported_in_one_line() -> None:
    gloo = (
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [10.77.0.2]:7896: Connection reset by "
    )
    told = r"^another process of the group is gone \(Read error .*: Connection reset by peer\)\. Start all"
    with pytest.raises(worker.LostError, match=told), worker.noticing_loss():
        raise RuntimeError(f"{gloo}peer. This is typically caused by a remote worker hanging or bugs")
    with pytest.raises(RuntimeError, match=r"^other$"), worker.noticing_loss():
        raise RuntimeError("other")
