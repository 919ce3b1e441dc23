"""Messages about missing libraries."""

from __future__ import annotations

from importlib.util import find_spec

from framework.api.errors import FrameworkError


def needs_optuna() -> None:
    """Look whether optuna is installed.

    Raises:
        FrameworkError: it is not.
    """
    if find_spec("optuna") is None:
        message = "hydra/sweeper=optuna5 needs optuna: pip install 'framework[optuna]'"
        raise FrameworkError(message)


def needs_cmaes() -> None:
    """Look whether the library behind `sampler=cmaes` is installed.

    Raises:
        FrameworkError: it is not.
    """
    if find_spec("cmaes") is None:
        message = "hydra.sweeper.sampler=cmaes needs cmaes: pip install 'framework[optuna]', or take sampler=tpe"
        raise FrameworkError(message)
