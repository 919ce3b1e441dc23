"""How the processes that an outer torchrun starts meet: they compare what they have, then wait for the first.

Each of them was started with the same words. The first is the run; the others take part in its training only. They talk
through torch's own store: that of torchrun's agent, or one that the first process opens at MASTER_ADDR:MASTER_PORT.
"""

from __future__ import annotations

import json
import platform
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan
from framework_plugins.launch.node import on_one_machine
from framework_plugins.launch.worker import LostError
from framework_plugins.lib.group_member import GROUP_STORE, Member

POLL_SECONDS = 0.2
"""Seconds between two looks at what the others have told."""
LEAVE_SECONDS = 10
"""Seconds that the first process waits at its end for the others, so that they learn of it."""
COMPUTING = ("framework", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "tokenizers", "numpy")
"""Packages whose versions have to be the same in each process."""
FOUND = ("MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", GROUP_STORE, "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Variables by which a process finds the others."""
NOT_COMPARED = {"logger"}
"""Sections of a config that only the first process uses."""
SHOWN_DIFFERENCES = 3


class Meeting:
    """The processes of a group, as one of them sees them.

    Args:
        me: this process.
        store: where each writes what it tells the others.
        address: where the processes reach the first one.
        seconds: how long one waits for the others.
        launch: the option, for messages.
        one_machine: whether all of them are on this machine.
    """

    def __init__(
        self, me: Member, store: Any, address: str, seconds: float, launch: str, *, one_machine: bool = False
    ) -> None:
        self.me = me
        self.one_machine = one_machine
        self.address = address
        self._store = store
        self._seconds = seconds
        self._launch = launch
        self._workers: Any = None

    def tell(self, topic: str, value: Any) -> None:
        """Tell the others something, by a name."""
        self._store.set(f"{topic}/{self.me.rank}", json.dumps(value))

    def told(self, topic: str, rank: int) -> Any:
        """Return what a process has told; None if it has not yet."""
        key = f"{topic}/{rank}"
        return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def gather(self, topic: str, *ranks: int) -> list[Any]:
        """Wait until all have told something, or those with some ranks, and return it by their ranks.

        Raises:
            FrameworkError: one has failed, or did not tell it in time.
        """
        end = time.monotonic() + self._seconds
        senders = ranks or range(self.me.world)
        while absent_ranks := [rank for rank in senders if self.told(topic, rank) is None]:
            if failure := self.failure():
                raise FrameworkError(failure)
            if time.monotonic() > end:
                raise FrameworkError(
                    f"{self._launch}: {_processes(absent_ranks)} of {self.me.world} did not tell {topic} within "
                    f"launch.wait_seconds={self._seconds:g}: look at what the machines print, or raise it"
                )
            time.sleep(POLL_SECONDS)
        return [self.told(topic, rank) for rank in senders]

    def failure(self) -> str:
        """Return the mistake that ended a process; empty if there is none."""
        failed = ((rank, self.told("failure", rank)) for rank in range(self.me.world))
        return next((f"process {rank}: {text}" for rank, text in failed if text), "")

    def compare(self, topic: str, values: Mapping[str, Any], remedy: str) -> None:
        """Tell what this process has; the first looks whether all have the same.

        Raises:
            FrameworkError: another has something else; the message names it.
        """
        self.tell(topic, {"host": socket.gethostname(), "values": values})
        if self.me.rank:
            return
        reference, *replies = self.gather(topic)
        for rank, reply in enumerate(replies, start=1):
            if differing := _differing(reference["values"], reply["values"]):
                raise FrameworkError(
                    f"{self._launch}: process {rank} on {reply['host']} has {_shown(reply['values'], differing)}, and "
                    f"process 0 on {reference['host']} has {_shown(reference['values'], differing)}: {remedy}"
                )

    def start(self, task: Mapping[str, Any], store: Path) -> Mapping[str, str]:
        """Let the others train, and return the variables by which a process finds them.

        The processes that train have a store of their own: in that of torchrun's agent there is what those of an
        earlier start have left. On one machine it is a file.
        """
        if self.one_machine:
            variables = on_one_machine(store)
        else:
            # The plan does without torch, which documents the name and does not export it.
            from torch.distributed import TCPStore  # type: ignore[attr-defined] # noqa: PLC0415

            self._workers = TCPStore(self.address, 0, is_master=True, wait_for_workers=False)
            variables = {"MASTER_PORT": str(self._workers.port), "TORCHELASTIC_USE_AGENT_STORE": str(True)}
        self.tell("task", {**task, "variables": variables})
        return variables

    def task(self) -> Mapping[str, Any] | None:
        """Wait for what the first process asks for; None if that is nothing.

        Raises:
            LostError: it has ended with an error.
        """
        while self.told("task", 0) is None:
            time.sleep(POLL_SECONDS)
        task: dict[str, Any] = self.told("task", 0)
        if "variables" in task:  # whoever reaches the port can write there, and some variables run code
            task["variables"] = {name: task["variables"][name] for name in FOUND if name in task["variables"]}
        if "failed" in task:
            raise LostError(f"{self._launch}: process 0 has ended with an error, which its machine prints")
        return task or None

    def leave(self, *, failed: bool) -> None:
        """Let the others end too, and wait a moment for those that have."""
        if self.me.rank:
            self.tell("left", value=True)
            return
        if self.told("task", 0) is None:
            self.tell("task", {"failed": True} if failed else {})
        end = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < end and not all(self.told("left", rank) for rank in range(1, self.me.world)):
            time.sleep(POLL_SECONDS)


def _processes(ranks: Sequence[int]) -> str:
    return f"process{'es' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*left, *right])
    return [key for key in keys if left.get(key) != right.get(key)]


def _shown(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    ellipsis = " …" if len(keys) > SHOWN_DIFFERENCES else ""
    return " ".join(f"{key}={values.get(key)}" for key in keys[:SHOWN_DIFFERENCES]) + ellipsis


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    result = {"Python": platform.python_version()}
    for name in COMPUTING:
        with suppress(metadata.PackageNotFoundError):
            result[name] = metadata.version(name)
    return result


def settings(plan: Plan) -> dict[str, Any]:
    """Return the settings of a run by their keys; secrets are hidden, and therefore equal."""
    return dict(_flat({name: value for name, value in plan.config.items() if name not in NOT_COMPARED}))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _try_port(address: str, port: int, seconds: float, *, opens: bool) -> None:
    """Open a port, or wait until somebody answers there: torch prints the frames of its own code if it cannot.

    Raises:
        OSError: it cannot be opened, or nobody answers in time.
    """
    if opens:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("", port))
        return
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, port), timeout=seconds):
                return
        except OSError:  # it may not have started yet, or not have its name yet
            if time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS)


@contextmanager
def meeting(me: Member, variables: Mapping[str, str], seconds: float, launch: str) -> Iterator[Meeting]:
    """Join the other processes, and leave them at the end.

    Args:
        me: this process.
        variables: in which torchrun says where they meet.
        seconds: how long one waits for the others.
        launch: the option, for messages.

    Raises:
        FrameworkError: there is nobody, the port is in use, or the first process has ended.
    """
    from torch.distributed import (  # type: ignore[attr-defined] # noqa: PLC0415 - public by torch's documentation
        DistError,
        PrefixStore,
        TCPStore,
    )

    address, port = variables["MASTER_ADDR"], variables["MASTER_PORT"]
    opens = me.rank == 0 and variables.get("TORCHELASTIC_USE_AGENT_STORE") != str(True)
    try:
        _try_port(address, int(port), seconds, opens=opens)
        store = TCPStore(
            address, int(port), is_master=opens, wait_for_workers=False, timeout=timedelta(seconds=seconds),
            multi_tenant=True,
        )  # fmt: skip
    except (DistError, OSError, ValueError, OverflowError) as error:
        raise FrameworkError(
            f"{launch}: MASTER_PORT={port} cannot be opened on {socket.gethostname()}; another program may use it: "
            "give another, torchrun --master-port PORT"
            if opens
            else f"{launch}: process {me.rank} does not reach the first one at {address}:{port} within "
            f"launch.wait_seconds={seconds:g}: start it, and see that its machine is found and lets this port through"
        ) from error
    # The agent's store outlives a restart, and still has what the processes of that start told.
    prefix = f"framework/{variables.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    one_machine = variables.get("LOCAL_WORLD_SIZE") == str(me.world)
    joined = Meeting(me, PrefixStore(prefix, store), address, seconds, launch, one_machine=one_machine)
    failed = True
    try:
        yield joined
        failed = False
    except LostError:
        raise
    except FrameworkError as error:
        with suppress(DistError):
            joined.tell("failure", str(error))
        raise
    except DistError as error:
        raise FrameworkError(f"{launch}: process {me.rank} has lost the first process: {address}:{port}") from error
    finally:
        with suppress(DistError):
            joined.leave(failed=failed)
