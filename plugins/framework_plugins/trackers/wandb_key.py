"""Asks Weights & Biases itself which server it logs to and whether it can log in there, and never lets it ask back.

Where its settings and its keys lie is its own affair: variables, two files of settings, a netrc entry with the port, a
token of an identity provider. The key itself is never given. It imports the library, so only what logs to it is to.
"""

from __future__ import annotations

import os
from pathlib import Path

import wandb

from framework.api import redact

KEY_VARIABLE, TOKEN_FILE_VARIABLE = "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"


def quiet_settings() -> wandb.Settings:
    """Return W&B's settings for this process, from its files and variables; W&B then asks nothing at a terminal.

    By default W&B asks when it finds no key or has to log in again. In silent mode it treats the terminal as not
    interactive, and raises.
    """
    settings: wandb.Settings = wandb.setup(wandb.Settings(silent=True, relogin=False)).settings
    wandb.termsetup(settings, None)  # if somebody has set it up before, the line above leaves the terminal as it was
    if _lost_token():
        settings.identity_token_file = None  # W&B's own process reads it offline too, and dies if it cannot
    return settings


def _lost_token() -> bool:
    """Whether the variables name a token file that cannot be read."""
    file = os.environ.get(TOKEN_FILE_VARIABLE, "")
    return bool(file) and not (Path(file).is_file() and os.access(file, os.R_OK))


def why_no_login(settings: wandb.Settings) -> str:
    """Say why W&B has no credentials; empty if it has some. The server does not check them here."""
    if _lost_token():
        return f"the file of {TOKEN_FILE_VARIABLE} cannot be read"
    before = settings.mode
    settings.mode = "online"  # offline it would not look
    try:
        logged_in = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        return str(redact(str(error))).rstrip(".")
    finally:
        settings.mode = before
    return "" if logged_in else "no key"


def how_to_log_in(settings: wandb.Settings) -> str:
    """Return the command that saves a key for this server, and the variable that holds one."""
    of_its_own = settings.base_url != wandb.Settings().base_url
    host = f" --host={redact(settings.base_url)}" if of_its_own else ""
    return f"wandb login{host}, or set {KEY_VARIABLE}"


def login_source() -> str:
    """Return the source of W&B's credentials."""
    if os.environ.get(KEY_VARIABLE):
        return f"a key in {KEY_VARIABLE}"
    return f"a token in {TOKEN_FILE_VARIABLE}" if os.environ.get(TOKEN_FILE_VARIABLE) else "a saved key"
