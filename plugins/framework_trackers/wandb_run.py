"""Opens a run of Weights & Biases: online where that is asked for and works, else offline. Nothing is ever asked."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from framework.errors import one_line
from framework.network import reachable
from framework.redact import redact
from framework_trackers.config import WandbConfig, WandbMode
from framework_trackers.wandb_key import address, has_key

MODE = "WANDB_MODE"
FLUSH_SECONDS = 1.0
"""How much of a run is lost at most where its process is killed; by itself W&B writes every 15 s."""
OFFLINE = {"offline", "dryrun"}


def mode(config: WandbConfig) -> tuple[str, str]:
    """Return `online`, `offline` or `disabled`, and why it is not online.

    W&B would ask for a key where there is none and somebody sits at the terminal, and would try for long where the
    server cannot be reached, so both are known before it is asked.
    """
    wanted = config.mode.value
    if config.mode is WandbMode.auto and os.environ.get(MODE) in OFFLINE | {"disabled", "online"}:
        wanted = os.environ[MODE]
        if wanted == "disabled":
            return "disabled", f"{MODE}=disabled"
        if wanted in OFFLINE:
            return "offline", f"{MODE}={wanted}"
    if wanted == WandbMode.offline.value:
        return "offline", "logger.wandb.mode=offline"
    if not has_key():
        return "offline", "no key: wandb login, or set WANDB_API_KEY"
    if not reachable(address()):
        return "offline", f"{redact(address())} cannot be reached"
    return "online", ""


def open_run(config: WandbConfig, about: Mapping[str, Any], folder: Path, values: Mapping[str, Any]) -> tuple[Any, str]:
    """Open a run and say why it is offline, if it is; no run where W&B is disabled.

    Args:
        config: the options.
        about: arguments for `wandb.init`: project, name, id and the like.
        folder: where W&B puts its files.
        values: the config of the run.
    """
    chosen, why = mode(config)
    if chosen == "disabled":
        return None, why
    _switch_telemetry_off()
    if chosen == "online":
        try:
            return _init(config, about, folder, values, "online"), ""
        except Exception as error:  # noqa: BLE001 - whatever the server makes of it, the run is logged offline
            _end_service()
            why = f"{redact(address())} did not take the run"
            say(f"wandb cannot be reached ({redact(one_line(error))}); this run is logged offline")
    return _init(config, about, folder, values, "offline"), why


def _init(config: WandbConfig, about: Mapping[str, Any], folder: Path, values: Mapping[str, Any], chosen: str) -> Any:
    return wandb.init(
        **about,
        dir=folder,
        config=dict(values),
        mode=chosen,  # type: ignore[arg-type] # a literal of wandb's
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
    """Finish a run, and say why that did not work; empty where it did."""
    try:
        run.finish(exit_code=exit_code)
    except Exception as error:  # noqa: BLE001 - the server is gone, or W&B's own process is
        _end_service()
        return str(redact(one_line(error)))
    return ""


def say(text: str) -> None:
    """Tell something once a run; it is not part of the console's picture."""
    print(text, file=sys.stderr)  # noqa: T201 - as above
