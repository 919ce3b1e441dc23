"""Messages about missing libraries."""

from __future__ import annotations

from importlib.util import find_spec

from framework import FrameworkError
from framework.api import pip_command

EXTRA = "framework-finetune[optuna]"


def needs_optuna() -> None:
    """Look whether optuna is installed.

    Raises:
        FrameworkError: it is not.
    """
    if find_spec("optuna") is None:
        raise FrameworkError(f"hydra/sweeper=optuna5 needs optuna: {pip_command([EXTRA])}")


def needs_cmaes() -> None:
    """Look whether the library behind `sampler=cmaes` is installed.

    Raises:
        FrameworkError: it is not.
    """
    if find_spec("cmaes") is None:
        raise FrameworkError(
            f"hydra.sweeper.sampler=cmaes needs cmaes: {pip_command([EXTRA])}, or hydra.sweeper.sampler=tpe"
        )
