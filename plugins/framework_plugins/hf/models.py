"""`model=local`: a folder, or an id of the Hub.

`check` looks at config.json alone, so it is quick and needs no torch; `fetch` brings tokenizer and safetensors. Hub
models are loaded from the folder of one commit afterwards, so nothing is looked up again during the run.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars

from framework.api.errors import FrameworkError
from framework.api.files import refuse_links
from framework.api.machine import reachable
from framework.api.protocols import ModelPlace
from framework.api.schema import plain_name
from framework.api.text import summarize_error
from framework_plugins.hf.config import LocalModelConfig
from framework_plugins.hf.hub_limits import Received, bounded

HTTP_ERROR: Any = HfHubHTTPError.__bases__[0]
"""What the HTTP client raises, which depends on the version of huggingface_hub."""
UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
# Weights come as safetensors only: a pickle runs code when it is loaded.
WEIGHTS = ["*.safetensors"]
TWICE = ["consolidated*", "original/*"]
"""The same weights in another layout, which some repositories hold too."""
INDEX = "*.safetensors.index.json"
SHOWN = 40
"""Characters of a wrong value that a message gives."""
MOST_STOPS = 1000
"""Tokens that may end an answer: families have one to ten."""
SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "n_embd", "n_layer", "n_head",
)  # fmt: skip
"""Numbers of a model, by the names that config.json gives them."""
PARTS = ("text_config", "vision_config")
"""Parts of a model with numbers of their own."""
TYPES: Mapping[str, Any] = {
    "architectures": list, "model_type": str, "auto_map": Mapping, "quantization_config": Mapping,
    **dict.fromkeys(PARTS, Mapping),
}  # fmt: skip
LARGEST = {"num_hidden_layers": 10_000, "n_layer": 10_000}
"""What no model comes near; making that many layers would take hours."""
SHIPPED = Path(__file__).parent / "presets.json"
"""What config.json says of the sizes of the models in conf/model, for a plan without a network."""
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.py"]


def check_inside(folder: Path, setting: str) -> None:
    """Make sure that a folder of weights reads files of that folder alone; weights may be links to files elsewhere.

    Raises:
        FrameworkError: an index names a file elsewhere, or is none, or a link leads there. `setting` names the folder.
    """
    refuse_links(folder, setting, besides=".safetensors")
    for index in folder.glob(INDEX):
        try:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise FrameworkError(
                f"{setting}: {index.name} is not an index of weights: {summarize_error(error)}"
            ) from error
        if outside := next((name for name in names if not isinstance(name, str) or not plain_name(name)), None):
            raise FrameworkError(
                f"{setting}: {index.name} names the file {outside!r}, which is not in the folder: fetch the model again"
            )


class UnreachableError(FrameworkError):
    """A model is not on this machine, and the Hub does not answer."""


class LocalModel:
    """A model in a folder or on the Hub."""

    def __init__(self, config: LocalModelConfig) -> None:
        self.config = config
        self.folder = Path(config.path).expanduser()
        self._config: Mapping[str, Any] | None = None
        self._unreachable: UnreachableError | None = None  # why the sizes are those of the table

    def check(self) -> str:
        """Name the architecture, as config.json has it.

        Raises:
            FrameworkError: no such model, gated, no network, or no config.
        """
        config = self.config_json()
        if self._unreachable:
            raise self._unreachable
        architecture = ", ".join(config.get("architectures") or [config.get("model_type", "unknown architecture")])
        return f"{self.config.path} ({architecture})"

    def config_json(self) -> Mapping[str, Any]:
        """Read config.json, the one file that is asked for; without a network, the sizes of the presets are known.

        Raises:
            FrameworkError: as `check`.
        """
        if self._config is None:
            self._config = self._read()
        return self._config

    def _read(self) -> Mapping[str, Any]:
        if self._is_folder():
            file = self.folder / "config.json"
            if not file.is_file():
                raise FrameworkError(
                    f"model.path={self.config.path}: the folder has no config.json, so it holds no model"
                )
            check_inside(self.folder, f"model.path={self.config.path}")
        else:
            try:
                file = Path(self._ask(hf_hub_download, filename="config.json"))
            except UnreachableError as error:
                shipped = json.loads(SHIPPED.read_text(encoding="utf-8")) if self.config.revision is None else {}
                if (sizes := shipped.get(self.config.path)) is None:
                    raise
                self._unreachable = error
                return dict(sizes)
        try:
            config: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise FrameworkError(f"model.path={self.config.path}: config.json is not valid JSON ({error})") from error
        except OSError as error:
            raise FrameworkError(
                f"model.path={self.config.path}: config.json cannot be read: {error.strerror or error}"
            ) from error
        if problem := _problem(config):
            raise FrameworkError(f"model.path={self.config.path}: config.json {problem}: restore it from its source")
        return config

    def fetch(self, *, weights: bool) -> ModelPlace:
        """Return the folder; a Hub model is downloaded once, its safetensors only with `weights`.

        Raises:
            FrameworkError: as `check`, or a folder has no weights. A plan does without: `config.json` is enough for it.
        """
        if self._is_folder():
            if not any(self.folder.glob("*.safetensors")):
                pickled = next((file.name for kind in PICKLED for file in self.folder.glob(kind)), "")
                reason = (
                    f"; {pickled} is pickled, which runs code when it is loaded, and is not read" if pickled else ""
                )
                raise FrameworkError(
                    f"model.path={self.config.path}: the folder has no weights, no file *.safetensors{reason}"
                )
            return ModelPlace(self.folder.absolute(), str(self.folder.absolute()))
        bars = None if sys.stderr.isatty() else Received
        patterns = {"allow_patterns": FILES + WEIGHTS * weights, "ignore_patterns": TWICE}
        folder = Path(self._ask(snapshot_download, tqdm_class=bars, **patterns))
        return ModelPlace(folder, self.config.path, revision=folder.name)

    def _is_folder(self) -> bool:
        path = self.config.path
        if self.folder.is_dir():
            return True
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise FrameworkError(f"model.path={path}: there is no such folder")
        return False

    def _ask(self, download: Any, **arguments: Any) -> str:
        """Call the Hub and put its refusals into words."""
        setting = f"model.path={self.config.path}"
        if not sys.stderr.isatty():
            disable_progress_bars()
        try:
            offline = not reachable(ENDPOINT)
            with bounded(setting):
                return str(
                    download(self.config.path, revision=self.config.revision, local_files_only=offline, **arguments)
                )
        except GatedRepoError as error:
            raise FrameworkError(
                f"{setting}: the model is gated. Accept its terms at huggingface.co/{self.config.path}, then log in: "
                "hf auth login, or set HF_TOKEN"
            ) from error
        except RevisionNotFoundError as error:
            raise FrameworkError(
                f"{setting}: the Hub has no revision model.revision={self.config.revision} of it"
            ) from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise FrameworkError(
                f"{setting}: no such folder here and no such model on the Hub (a private one needs HF_TOKEN). "
                "An id is written owner/name"
            ) from error
        except LocalEntryNotFoundError as error:
            answer = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else None
            state = f"answers with an error ({summarize_error(answer)})" if answer else "cannot be reached"
            raise UnreachableError(
                f"{setting}: not on this machine, and the Hub {state}. Check the network and HF_ENDPOINT, or "
                "give a folder: model=local model.path=FOLDER"
            ) from error
        except EntryNotFoundError as error:
            raise FrameworkError(
                f"{setting}: the repository has no config.json, so it holds no model for transformers"
            ) from error
        except (HTTP_ERROR, OSError) as error:
            if (number := getattr(error, "errno", None)) in UNWRITABLE:
                raise FrameworkError(
                    f"{setting}: the Hub's cache, {constants.HF_HUB_CACHE}, cannot be written: {os.strerror(number)}. "
                    "Set HF_HUB_CACHE=FOLDER, or give a folder: model=local model.path=FOLDER"
                ) from error
            raise FrameworkError(f"{setting}: the Hub cannot be reached ({summarize_error(error)})") from error


def _problem(config: Any) -> str:
    """Say why a config.json describes no model; empty where it may."""
    if not isinstance(config, Mapping):
        return f"holds a {type(config).__name__} instead of settings"
    for name, valid in TYPES.items():
        if (value := config.get(name)) is not None and not isinstance(value, valid):
            return f"has a {name} that is a {type(value).__name__}"
    for part in [config, *(config.get(name) or {} for name in PARTS)]:
        if not isinstance(part.get("layer_types") or [], list):
            return f"has layer_types that are a {type(part['layer_types']).__name__}"
        for name in SIZES:
            size = part.get(name)
            # Some architectures give one number a layer, or none.
            if size is None or isinstance(size, list | Mapping):
                continue
            least = 0 if name == "intermediate_size" else 1  # of a model with experts alone
            if type(size) is not int or not least <= size <= LARGEST.get(name, 2**31):
                shown = repr(size) if len(repr(size)) <= SHOWN else f"{repr(size)[:SHOWN]}…"
                return f"has {name}={shown}, which must be a number from {least} to {LARGEST.get(name, 2**31):,}"
    if any(not isinstance(name, str) for name in config.get("architectures") or []):
        return "has architectures that are not names"
    stops = config.get("eos_token_id")
    if isinstance(stops, list) and len(stops) > MOST_STOPS:
        return f"lists {len(stops):,} tokens as eos_token_id"
    return ""
