"""What the processes of a group compare before they train together, and what they say if one does not come."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework_plugins.launch.meeting import Meeting, meeting, settings, versions
from framework_plugins.launch.outer import rows_of
from framework_plugins.lib.group_member import Member


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


Values = dict[str, Any]


@pytest.mark.parametrize(
    ("both", "told"),
    [
        (lambda _: (versions(), {**versions(), "torch": "9.9"}), r"torch=9\.9, .* has torch=\d+\.\d+\S*"),
        (lambda plan: (plan("seed=3"), plan("seed=7")), r"seed=7, .* has seed=3"),
        (lambda plan: (plan(), plan("trainer.max_steps=7")), r"trainer\.max_steps=7, .* has trainer\.max_steps=\S+"),
        (lambda _: (rows(3), rows(5)), r"rows=of 5 split=\['.*'\], .* has rows=of 3 split=\['.*'\]"),
    ],
    ids=["versions", "seeds", "plans", "data"],
)
def test_what_differs_is_named_with_the_process_the_machine_and_both_values(
    pair: tuple[Meeting, Meeting],
    data_file: Path,
    tmp_path: Path,
    both: Callable[[Callable[..., Values]], tuple[Values, Values]],
    told: str,
) -> None:
    def plan(*words: str) -> Values:
        return settings(testing.plan(["data=local_file", f"data.path={data_file}", *words], run_dir=tmp_path / "run"))

    first, second = both(plan)
    pair[1].compare("its own", second, "")
    host = re.escape(socket.gethostname())
    with pytest.raises(FrameworkError) as refused:
        pair[0].compare("its own", first, "what to do")
    text = told.replace(".* has", f"and process 0 on {host} has")
    assert re.fullmatch(f"launch=ddp: process 1 on {host} has {text}: what to do", str(refused.value))


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


def test_only_the_variables_by_which_processes_meet_are_taken_from_a_port(pair: tuple[Meeting, Meeting]) -> None:
    variables = {"MASTER_PORT": "1", "LD_PRELOAD": "evil.so"}
    pair[0].tell("task", {"checkpoint": "c", "scratch": "s", "variables": variables})
    task = pair[1].task()
    assert task is not None
    assert task["variables"] == {"MASTER_PORT": "1"}


def test_processes_of_one_machine_meet_by_a_file(tmp_path: Path) -> None:
    from torch.distributed import HashStore  # type: ignore[attr-defined] # public by torch's documentation

    here = Meeting(Member(0, 2, 0), HashStore(), "a", 0.3, "launch=ddp", one_machine=True)
    assert here.start({}, tmp_path / "workers") == {
        "FRAMEWORK_GROUP_STORE": str(tmp_path / "workers"), "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo",
    }  # fmt: skip


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


def test_two_processes_meet_at_a_port_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}

    def process(rank: int) -> None:
        with meeting(Member(rank, 2, rank), variables, 20, "launch=ddp") as joined:
            joined.compare("its own", {"a": 1}, "")

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(process, (0, 1))] == [None, None]
    assert capfd.readouterr().err == ""
