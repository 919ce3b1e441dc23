"""A fresh virtual environment, and programs that run in it as a user runs them."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.forked_program import Result, forked
from tests.support.forks import STARTS, Forks
from tests.support.program import environment

ECHO = "from framework import testing; from framework.cli.main import main; testing.install(); main()"


@dataclass(frozen=True)
class Installed:
    """A virtual environment, and a home for what its processes write."""

    folder: Path
    home: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def site_packages(self) -> Path:
        """Where pip installs to."""
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment's programs first on the path, no network, and nothing written but to `home`."""
        variables = environment(
            self.home,
            FRAMEWORK_CACHE=str(self.home / "cache"),
            TRACKIO_DIR=str(self.home / "trackio"),
            OMP_NUM_THREADS="1",
            PYTHONDONTWRITEBYTECODE="1",
        )
        variables["PATH"] = f"{self.folder / 'bin'}:{variables['PATH']}"
        for name in ("PYTHONPATH", "PYTEST_ADDOPTS"):
            variables.pop(name, None)
        return variables

    @cached_property
    def forks(self) -> Forks:
        """A Python of the environment that has imported framework, with what is installed when it is first asked."""
        return Forks(self.variables, *STARTS, python=self.python)

    def execute(self, *command: str, cwd: Path) -> Result:
        """Run a command: one of the environment's Python by a fork."""
        if command[0] == self.python:
            return forked(self.forks, command[1:], cwd, self.variables)
        done = subprocess.run(
            command, cwd=cwd, env=self.variables, capture_output=True, encoding="utf-8", check=False, timeout=300
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def pip_install(self, *what: Path) -> None:
        """Install with all dependencies, out of what is here: no index, no settings of this machine's pip."""
        options = ["--isolated", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
        result = self.execute("python", "-m", "pip", "install", *options, *map(str, what), cwd=self.home)
        assert result.code == 0, result.err

    def echo(self, *words: str, cwd: Path) -> Result:
        """Run the program with the echo backend."""
        return self.execute(self.python, "-c", ECHO, "model=echo", "trainer=echo", *words, cwd=cwd)

    def own_tests(self, folder: Path) -> Result:
        """Run the tests of a distribution, in a new process: pytest is the first to import what it watches."""
        return self.execute("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
