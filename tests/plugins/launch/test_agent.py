"""How many threads each process of a group gets."""

from __future__ import annotations

import pytest

from framework_plugins.launch.agent import threads


@pytest.mark.parametrize(("said", "given"), [("3", 3), ("", 2), ("0", 2), ("4,2", 2), (None, 2)])
def test_each_process_has_its_share_of_the_processor(
    said: str | None, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework_plugins.launch.agent.cpu_cores", lambda: 8)
    if said is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads(4) == given
    if given != 3:
        assert threads(16) == 1
