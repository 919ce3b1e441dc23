"""The echo backend in a file of its own, with an end of one's choice, for runs in other processes."""

FILE = "ending_plugin.py"
PLUGIN = '''
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framework import Component, FrameworkError, hookimpl
from framework.testing.echo import EchoBackend, EchoModelConfig, EchoTrainerConfig


@dataclass
class EndingConfig(EchoTrainerConfig):
    """The echo backend, with an end of one's choice."""

    end: str = "none"
    """How the training ends: none of these, mistake, failure, never, or the number of a signal."""
    kills_once: bool = False
    """Kill the process in its first training, with SIGKILL."""
    naps: float = 0.0
    """Seconds that the training takes, if there is no file `enough` before."""


class Ending(EchoBackend):
    @contextmanager
    def open(self, plan):
        with super().open(plan) as model:
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
            model.facts = {"device": "none", "process": str(os.getpid()), "sees": seen}
            train = model.train

            def ending(*arguments):
                if self.config.end.isdigit():
                    os.kill(os.getpid(), int(self.config.end))
                if self.config.end == "mistake":
                    raise FrameworkError("first line\\nsecond line")
                if self.config.end == "failure":
                    raise LookupError("lost")
                if self.config.kills_once and not Path("killed").exists():
                    Path("killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                end = time.monotonic() + (100 if self.config.end == "never" else self.config.naps)
                while time.monotonic() < end and not Path("enough").exists():
                    time.sleep(0.05)
                return train(*arguments)

            model.train = ending
            yield model


@hookimpl
def framework_components():
    yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")
    yield Component("ending", EndingConfig, "ending_plugin:Ending")
'''
WORDS = [f"plugins=[./{FILE}]", "model=echo", "trainer=ending", "data=local_file", "data.path=rows.jsonl", "logger=[]"]
