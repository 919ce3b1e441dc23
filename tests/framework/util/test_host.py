"""framework/util/host.py: the memory of this machine, within the limits of a container."""

from pathlib import Path

import psutil
import pytest

from framework.util import host

GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "used", "total", "available", "limited"),
    [
        ("max", "1", None, None, False),
        (str(2**60), "1", None, None, False),
        (str(GIB), str(GIB // 4), GIB, 3 * GIB // 4, True),
        (str(GIB), str(2 * GIB), GIB, 0, True),
    ],
)
def test_a_container_limits_what_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    used: str,
    total: int | None,
    available: int | None,
    *,
    limited: bool,
) -> None:
    (tmp_path / "memory.max").write_text(limit, encoding="ascii")
    (tmp_path / "memory.current").write_text(used, encoding="ascii")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    found = host.memory()
    assert found.limited == limited
    assert found.total == (total or psutil.virtual_memory().total)
    assert found.available == available if available is not None else 0 < found.available < found.total


def test_without_control_groups_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    assert not host.memory().limited
