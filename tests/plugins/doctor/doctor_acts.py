"""Checks that do what checks may do, and options that cannot be installed; they are used in another process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framework import Component
from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan
from framework.api.schema import LoggerConfig, TrainerConfig
from framework.util.errors import FrameworkError

TOKEN = "hf_" + "aB3" * 10


def well(plan: Plan | None) -> DiagnosticResult:
    return DiagnosticResult(State.ok, plan.name if plan else "no plan", "1.2", "nothing")


def nothing(_: Plan | None) -> None:
    return None


def process(_: Plan | None) -> DiagnosticResult:
    return DiagnosticResult(State.ok, str(os.getpid()))


def noisy(_: Plan | None) -> DiagnosticResult:
    print("a library speaks")  # noqa: T201 - what libraries do
    os.write(1, b"and so does C\n")
    subprocess.run([sys.executable, "-c", "print('and a child')"], check=True)
    return DiagnosticResult(State.ok)


def crash(_: Plan | None) -> DiagnosticResult:
    print("about to crash", file=sys.stderr, flush=True)  # noqa: T201 - as above
    os.kill(os.getpid(), signal.SIGSEGV)
    return DiagnosticResult(State.ok)


def leave(_: Plan | None) -> DiagnosticResult:
    os._exit(7)


def hang(_: Plan | None) -> DiagnosticResult:
    """Hang, with a child of its own; the file that HANGS names gets the ids of both."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        Path(os.environ["HANGS"]).write_text(f"{os.getpid()} {child.pid}", encoding="ascii")
        time.sleep(600)
    return DiagnosticResult(State.ok)


def raises(_: Plan | None) -> DiagnosticResult:
    raise RuntimeError(f"no anvil for {TOKEN}\nand more")


def refuses(_: Plan | None) -> DiagnosticResult:
    raise FrameworkError("acme.anvil=1 is too light: set 2")


def lacks(_: Plan | None) -> DiagnosticResult:
    raise ModuleNotFoundError(name="anvil")


def leaves_python(_: Plan | None) -> DiagnosticResult:
    sys.exit("unsupported")


def wrong(_: Plan | None) -> str:
    return "all is well"


@dataclass
class TallConfig(LoggerConfig):
    """Needs what is not there."""


@dataclass
class BadConfig(LoggerConfig):
    """Its code is broken."""


@dataclass
class PickyConfig(TrainerConfig):
    """Refuses."""


class Picky:
    def __init__(self, config: PickyConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, plan: Plan) -> Iterator[None]:
        raise FrameworkError(f"the machine is too small for {plan.name}: take a larger one")
        yield


TALL = Component("tall", TallConfig, f"{__name__}:Tall", extra="acme-absent>=2")
BAD = Component("bad", BadConfig, f"{__name__}:NotThere")
PICKY = Component("picky", PickyConfig, f"{__name__}:Picky")
