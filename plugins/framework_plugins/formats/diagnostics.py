"""What `python -m framework doctor` looks at for data: the Hub with its token, and local files."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, get_token

from framework import FrameworkError, Plan
from framework.api import DiagnosticResult, State, display_path, summarize_error
from framework_plugins.formats.config import HubConfig, LocalFileConfig
from framework_plugins.formats.readers.find import find
from framework_plugins.lib.network import reachable

TIMEOUT = 5.0
FORBIDDEN, NO_LOGIN_AT_PROXY, SERVER_ERROR = 403, 407, 500
NETWORK_FIX = "check the network, the proxy and HF_ENDPOINT; what is in the cache still works"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def hub(plan: Plan | None) -> DiagnosticResult:
    """Ask the Hub for its first page, unless it is switched off; say too whether the data set is in the cache."""
    cached = _cache_note(plan)
    switched = [name for name in OFFLINE_VARIABLES if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}]
    if switched:
        detail = f"{' and '.join(switched)} switched it off: only the cache is used{cached}"
        return DiagnosticResult(State.off, detail, fix=f"unset {' '.join(switched)}")
    refusal = _server_problem(constants.ENDPOINT)
    if refusal:
        return DiagnosticResult(State.missing, f"{constants.ENDPOINT} {refusal}{cached}", fix=NETWORK_FIX)
    return DiagnosticResult(State.ok, f"{constants.ENDPOINT} answers{cached}")


def _server_problem(url: str) -> str:
    """Say why a server cannot be used; empty if it answers, if only that it has no such page."""
    if not reachable(url):
        return "cannot be reached"
    try:
        urlopen(Request(url, method="HEAD"), timeout=TIMEOUT).close()  # noqa: S310 - the user's own HF_ENDPOINT
    except HTTPError as error:
        error.close()
        refused = error.code in {FORBIDDEN, NO_LOGIN_AT_PROXY} or error.code >= SERVER_ERROR
        return f"answers with {error.code} {error.reason}" if refused else ""
    except (URLError, OSError) as error:
        return f"cannot be used: {summarize_error(error)}"
    return ""


def _cache_note(plan: Plan | None) -> str:
    if plan is None or not isinstance(plan.data.config, HubConfig):
        return ""
    verb = "is" if is_cached(plan.data.config.path) else "is not"
    return f"; {plan.data.config.path} {verb} in the cache"


def is_cached(path: str) -> bool:
    """Whether any split of a data set of the Hub was prepared on this machine."""
    folder = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME, "datasets")
    return Path(folder, path.replace("/", "___").lower()).is_dir() or Path(folder, path.replace("/", "___")).is_dir()


def token(_: Plan | None) -> DiagnosticResult:
    """Say where the Hub's token is, without showing it."""
    if get_token() is None:
        fix = "hf auth login, or set HF_TOKEN"
        return DiagnosticResult(State.off, "no token: gated and private models and data sets are refused", fix=fix)
    names = [name for name in TOKEN_VARIABLES if os.environ.get(name, "").strip()]
    location = names[0] if names else display_path(Path(constants.HF_TOKEN_PATH))
    return DiagnosticResult(State.ok, f"one is set, in {location}")


def local_files(plan: Plan | None) -> DiagnosticResult | None:
    """Look for the files of `data=local_file`; other data have none."""
    config = plan.data.config if plan else None
    if not isinstance(config, LocalFileConfig):
        return None
    parts = []
    for setting in ("path", "validation_path", "prompts_path"):
        pattern: str | None = getattr(config, setting)
        if pattern is None:
            continue
        try:
            files = find(pattern, f"data.{setting}")
        except FrameworkError as error:
            return DiagnosticResult(State.missing, str(error))
        size = sum(file.path.stat().st_size for file in files)
        parts.append(f"data.{setting}: {len(files)} {'file' if len(files) == 1 else 'files'}, {size / 2**20:.1f} MiB")
    return DiagnosticResult(State.ok, "; ".join(parts))
