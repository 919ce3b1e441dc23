"""What the processes of a group compare before they train together, and what they say if one does not come."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.process_group import Member
from framework_plugins.launch.meeting import Meeting, meeting, settings, versions


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


def test_what_differs_is_named_with_the_process_the_machine_and_both_values(
    pair: tuple[Meeting, Meeting], data_file: Path, tmp_path: Path
) -> None:
    words = ["data=local_file", f"data.path={data_file}"]
    first, second = (testing.plan([*words, f"seed={seed}"], run_dir=tmp_path / "run") for seed in (3, 7))
    pair[1].compare("its settings", settings(second), "")
    with pytest.raises(FrameworkError) as refused:
        pair[0].compare("its settings", settings(first), "start all processes with the same command")
    host = socket.gethostname()
    told = f"launch=ddp: process 1 on {host} has seed=7, and process 0 on {host} has seed=3: start all processes with"
    assert str(refused.value).startswith(told)


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
def test_a_port_that_is_taken_and_one_where_nobody_answers_are_named(rank: int, told: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if rank == 0:
            taken.listen()
        variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        with pytest.raises(FrameworkError, match=told), meeting(Member(rank, 2, rank), variables, 1, "launch=ddp"):
            pass
