"""What the processes of a group compare before they train together, and what they say if one does not come."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.process_group import Member
from framework_plugins.launch.meeting import Meeting, meeting, settings, versions
from framework_plugins.launch.outer import rows_of


@pytest.fixture
def pair() -> tuple[Meeting, Meeting]:
    """Return two processes that meet in one store."""
    from torch.distributed import HashStore  # type: ignore[attr-defined] # public by torch's documentation

    store = HashStore()
    first, second = (Meeting(Member(rank, 2, rank), store, "a", 0.3, "launch=ddp") for rank in (0, 1))
    return first, second


def test_processes_that_have_the_same_go_on(pair: tuple[Meeting, Meeting]) -> None:
    for each in reversed(pair):
        each.compare("its versions", versions(), "")


def rows(token: int) -> dict[str, Any]:
    """Return what a process compares of its rows, one with that token."""
    row: Any = SimpleNamespace(rows=[SimpleNamespace(input_ids=[1, token], labels=[1, token])])
    data: Any = SimpleNamespace(
        train_groups=[row], validation_groups=[], result=SimpleNamespace(fingerprint=f"of {token}")
    )
    model: Any = SimpleNamespace(encoding="e")
    return rows_of(model, data)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("versions", r"torch=9\.9, and process 0 on {host} has torch=\d+\.\d+\S*: what to do"),
        ("seeds", r"seed=7, and process 0 on {host} has seed=3: what to do"),
        ("plans", r"trainer\.learning_rate=0\.5, and process 0 on {host} has trainer\.learning_rate=\S+: what to do"),
        ("rows", r"rows=of 5 split=\['.*'\], and process 0 on {host} has rows=of 3 split=\['.*'\]: what to do"),
    ],
)
def test_what_differs_is_named_with_the_process_the_machine_and_both_values(
    pair: tuple[Meeting, Meeting], data_file: Path, tmp_path: Path, what: str, told: str
) -> None:
    def plan(*words: str) -> dict[str, Any]:
        return settings(testing.plan(["data=local_file", f"data.path={data_file}", *words], run_dir=tmp_path / "run"))

    first, second = {
        "versions": lambda: (versions(), {**versions(), "torch": "9.9"}),
        "seeds": lambda: (plan("seed=3"), plan("seed=7")),
        "plans": lambda: (plan(), plan("trainer.learning_rate=0.5")),
        "rows": lambda: (rows(3), rows(5)),
    }[what]()
    pair[1].compare(f"its {what}", second, "")
    host = re.escape(socket.gethostname())
    with pytest.raises(FrameworkError, match=f"^launch=ddp: process 1 on {host} has {told.format(host=host)}$"):
        pair[0].compare(f"its {what}", first, "what to do")


def test_one_that_does_not_come_is_named_after_the_time_that_a_setting_gives(pair: tuple[Meeting, Meeting]) -> None:
    with pytest.raises(
        FrameworkError, match=r"process 1 of 2 did not tell its rows within launch\.wait_seconds=0\.3: "
    ):
        pair[0].compare("its rows", {}, "")


def test_the_mistake_of_another_process_is_reported_at_once(pair: tuple[Meeting, Meeting]) -> None:
    pair[1].tell("failure", "no room")
    with pytest.raises(FrameworkError, match=r"^process 1: no room$"):
        pair[0].compare("its rows", {}, "")


def test_the_others_end_if_there_is_nothing_to_train(pair: tuple[Meeting, Meeting]) -> None:
    pair[1].tell("left", value=True)
    pair[0].leave(failed=False)
    assert pair[1].task() is None


def test_the_others_end_too_if_the_first_fails(pair: tuple[Meeting, Meeting]) -> None:
    pair[1].tell("left", value=True)
    pair[0].leave(failed=True)
    with pytest.raises(FrameworkError, match="process 0 has ended with an error, which its machine prints"):
        pair[1].task()


@pytest.mark.parametrize(
    ("rank", "told"),
    [
        (
            0,
            r"MASTER_PORT=\d+ cannot be opened on .*; another program may use it: give another, torchrun",
        ),
        (
            1,
            r"process 1 does not reach the first one at 127\.0\.0\.1:\d+ within launch\.wait_seconds=1: start it",
        ),
    ],
)
def test_a_port_that_is_taken_and_one_where_nobody_answers_are_named(
    rank: int, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if rank == 0:
            taken.listen()
        variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        with pytest.raises(FrameworkError, match=told), meeting(Member(rank, 2, rank), variables, 1, "launch=ddp"):
            pass
    assert capfd.readouterr().err == ""  # torch would print a page about it
