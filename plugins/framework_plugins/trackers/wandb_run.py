"""Opens a run of Weights & Biases: online if that is asked for and works, else offline. Nothing is ever asked."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import wandb

from framework.api import redact, summarize_error
from framework_plugins.lib.network import reachable
from framework_plugins.trackers.config import WandbConfig, WandbMode
from framework_plugins.trackers.wandb_key import how_to_log_in, quiet_settings, why_no_login

MODE_VARIABLE = "WANDB_MODE"
FLUSH_SECONDS = 1.0
"""How much of a run is lost at most where its process is killed; by itself W&B writes every 15 s."""
OFFLINE_MODES = {"offline", "dryrun"}


class LoggingMode(NamedTuple):
    """How a run is logged: `online`, `offline` or `disabled`; to which server; why not online, and how to fix that."""

    mode: str
    address: str
    why: str = ""
    fix: str = ""

    @property
    def reason(self) -> str:
        """The reason and the fix."""
        return f"{self.why}: {self.fix}" if self.fix else self.why


def logging_mode(config: WandbConfig) -> LoggingMode:
    """Return how a run is logged.

    W&B raises if it has no key, and tries for long if the server cannot be reached, so both are known before.
    """
    settings = quiet_settings()
    address = str(redact(settings.base_url))
    mode, why = config.mode.value, "logger.wandb.mode=offline"
    if config.mode is WandbMode.auto:
        mode = settings.mode
        why = f"{MODE_VARIABLE}={mode}" if os.environ.get(MODE_VARIABLE) else f"mode={mode} in W&B's settings"
    if mode in {*OFFLINE_MODES, "disabled"}:
        return LoggingMode("disabled" if mode == "disabled" else "offline", address, why)
    if lacks := why_no_login(settings):
        return LoggingMode("offline", address, lacks, how_to_log_in(settings))
    if not reachable(settings.base_url):
        return LoggingMode("offline", address, f"{address} cannot be reached")
    return LoggingMode("online", address)


def open_run(config: WandbConfig, about: Mapping[str, Any], folder: Path, values: Mapping[str, Any]) -> tuple[Any, str]:
    """Open a run; return it, None if W&B is disabled, and the reason if it is offline.

    Args:
        config: the options.
        about: arguments for `wandb.init`: project, name, id and the like.
        folder: where W&B puts its files.
        values: the config of the run.
    """
    _switch_telemetry_off()
    connection = logging_mode(config)
    why = connection.reason
    if connection.mode == "disabled":
        return None, why
    if connection.mode == "online":
        try:
            return _init_run(config, about, folder, values, "online"), ""
        except Exception as error:  # noqa: BLE001 - whatever the server makes of it, the run is logged offline
            _end_service()
            why = f"{connection.address} refused the run"
            print_once(f"wandb cannot log online ({summarize_error(error)}); this run is logged offline")
    return _init_run(config, about, folder, values, "offline"), why


def _init_run(config: WandbConfig, about: Mapping[str, Any], folder: Path, values: Mapping[str, Any], mode: str) -> Any:
    return wandb.init(
        **about,
        dir=folder,
        config=dict(values),
        mode=mode,  # type: ignore[arg-type] # a literal of wandb's
        reinit="create_new",
        settings=wandb.Settings(
            init_timeout=config.init_timeout,
            finish_timeout=config.finish_timeout,
            finish_timeout_raises=True,
            console="off",
            silent=True,
            x_disable_meta=True,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
        ),
    )


def _end_service() -> None:
    """End W&B's own process now: else that is tried, and its failure printed, when the program ends."""
    with contextlib.suppress(Exception, SystemExit):  # it hands on the exit code of a process that was killed
        wandb.teardown()


def _switch_telemetry_off() -> None:
    """Stop W&B from reporting on itself: at the end of the program that waits 12 s for a server that is gone."""
    try:
        from wandb.analytics.opentelemetry.opentelemetry_proxy import disable  # noqa: PLC0415 - not in every version
    except ImportError:
        return
    disable()


def finish_run(run: Any, exit_code: int) -> str:
    """Finish a run; return the reason if that failed, else an empty text."""
    try:
        run.finish(exit_code=exit_code)
    except Exception as error:  # noqa: BLE001 - the server is gone, or W&B's own process is
        _end_service()
        return summarize_error(error)
    return ""


def print_once(text: str) -> None:
    """Print a text once a run, outside of the console's picture."""
    print(text, file=sys.stderr)  # noqa: T201 - as above
