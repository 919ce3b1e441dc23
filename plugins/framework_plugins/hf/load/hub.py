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
from framework_plugins.hf.load.hub_limits import Received, bounded
from framework_plugins.hf.load.model_settings import config_problem, read_settings
from framework_plugins.hf.settings.config import LocalModelConfig

HTTP_ERROR: Any = HfHubHTTPError.__bases__[0]
"""What the HTTP client raises, which depends on the version of huggingface_hub."""
UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
# Weights come as safetensors only: a pickle runs code when it is loaded.
WEIGHTS = ["*.safetensors"]
TWICE = ["consolidated*", "original/*"]
"""The same weights in another layout, which some repositories hold too."""
INDEX = "*.safetensors.index.json"
SHIPPED = Path(__file__).parent / "presets.json"
"""What config.json says of the sizes of the models in conf/model, for a plan without a network."""
INDEX_OF_BASE = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
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
            held = json.loads(index.read_text(encoding="utf-8"))
            names = held["weight_map"].values()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise FrameworkError(
                f"{setting}: {index.name} is not an index of weights: {summarize_error(error)}"
            ) from error
        if outside := next((name for name in names if not isinstance(name, str) or not plain_name(name)), None):
            raise FrameworkError(
                f"{setting}: {index.name} names the file {outside!r}, which is not in the folder: fetch the model again"
            )
        if index.name == INDEX_OF_BASE and not isinstance(held.get("metadata"), Mapping):
            raise FrameworkError(
                f'{setting}: {index.name} has no "metadata", which transformers reads: restore the file from its '
                'source, or add "metadata": {} to it'
            )


class UnreachableError(FrameworkError):
    """A model is not on this machine, and the Hub does not answer."""


def _refuse_adapter(folder: Path, setting: str) -> None:
    """Refuse an adapter beside the weights of a model: transformers would put it on the model, and load its base."""
    if (folder / ADAPTER).exists():
        raise FrameworkError(
            f"{setting}: the folder holds {ADAPTER} beside the weights of a model, and transformers would load that "
            "adapter with them: move it out of the folder, and evaluate it with checkpoint=ITS_FOLDER"
        )


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
            check_inside(self.folder, f"model.path={self.config.path}")
            if not file.is_file():
                raise FrameworkError(
                    f"model.path={self.config.path}: the folder has no config.json, so it holds no model"
                )
            _refuse_adapter(self.folder, f"model.path={self.config.path}")
        else:
            try:
                file = Path(self._ask(hf_hub_download, filename="config.json"))
            except UnreachableError as error:
                shipped = json.loads(SHIPPED.read_text(encoding="utf-8")) if self.config.revision is None else {}
                if (sizes := shipped.get(self.config.path)) is None:
                    raise
                self._unreachable = error
                return dict(sizes)
        config = read_settings(file, f"model.path={self.config.path}")
        if problem := config_problem(config):
            raise FrameworkError(f"model.path={self.config.path}: config.json {problem}")
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
        _refuse_adapter(folder, f"model.path={self.config.path}")
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
