"""framework_plugins/lib/host.py: the cores of this machine, within the limits of a container."""

import os
from pathlib import Path

import psutil
import pytest

from framework_plugins.lib import host


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), (None, 6), ("nonsense", 6)]
)
def test_cores_are_counted_once_and_within_what_a_container_is_given(
    quota: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n", encoding="ascii")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda *, logical: 12 if logical else 6)
    assert host.cores() == cores


@pytest.mark.parametrize(("setting", "expected"), [("3", 3), ("", 2), ("0", 2), ("4,2", 2), (None, 2)])
def test_each_process_has_its_share_of_the_cores(
    setting: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "cores", lambda: 8)
    if setting is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert host.threads(4) == expected
    if expected != 3:
        assert host.threads(16) == 1
