"""Two machines for a test: network namespaces of this one, with their own names, addresses and processes.

They see one file system, and nothing but each other. If namespaces are refused, as in most containers, they are two
addresses of the loopback device. Whatever happens, their processes end with the test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

INSIDE = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec 3<&0; "$@" 3<&- & cat <&3 & wait -n'
"""What runs as the first process of a machine; the kernel ends all others with it. It ends with the command, or with
the test, whose end closes its standard input."""


@dataclass
class Host:
    """A machine.

    Attributes:
        name: by which the other one finds it.
        address: likewise.
        enter: the command that starts another one there; empty on the loopback device.
    """

    name: str
    address: str
    enter: Sequence[str] = ()
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def network(self) -> Sequence[str]:
        """The command that starts another one in its network, and otherwise on this machine."""
        return self.enter[:4]

    def start(self, words: Sequence[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command there that writes into a file."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10", **variables}
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*self.enter, *words], env=environment, stdin=subprocess.PIPE, stdout=out, stderr=out, process_group=0
            )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Switch the machine off."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        self.started.clear()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_hosts(place: Path) -> Iterator[tuple[Host, Host]]:
    """Make two machines, and remove them at the end."""
    names, addresses = [f"fw{os.getpid()}{letter}" for letter in "ab"], ["10.77.0.1", "10.77.0.2"]
    file = place / "hosts"
    file.write_text("127.0.0.1 localhost\n" + "".join(map("{} {}\n".format, addresses, names)), encoding="utf-8")
    made = list[str]()
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
                made.append(name)
            _ip("link", "add", f"v{names[0]}", "type", "veth", "peer", "name", f"v{names[1]}")
            for name, address in zip(names, addresses, strict=True):
                _ip("link", "set", f"v{name}", "netns", name)
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"v{name}")
                for device in ("lo", f"v{name}"):
                    _ip("-n", name, "link", "set", device, "up")
            unshare = shutil.which("unshare") or "unshare"
            hosts = [
                Host(name, address, [
                    *("ip", "netns", "exec", name), unshare, "--uts", "--mount", "--pid", "--fork", "--kill-child",
                    "--mount-proc", "bash", "-c", INSIDE, "-", name, str(file),
                ])
                for name, address in zip(names, addresses, strict=True)
            ]  # fmt: skip
            subprocess.run([*hosts[0].enter, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            hosts = [Host(f"127.0.0.{number}", f"127.0.0.{number}") for number in (1, 2)]
        first, second = hosts
        try:
            yield first, second
        finally:
            first.kill()
            second.kill()
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
