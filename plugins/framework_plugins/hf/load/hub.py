"""`model=local`: a folder, or an id of the Hub.

`check` looks only at config.json, so it is quick and needs no torch; `fetch` brings tokenizer and safetensors. Hub
models are loaded from the folder of one commit afterwards, so nothing is looked up again during the run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

from framework import FrameworkError
from framework.api.training import ModelPlace, ModelSource
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.config import LocalModelConfig
from framework_plugins.lib.hub import UnreachableError, ask_hub
from framework_plugins.lib.model_settings import config_problem, read_settings
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, FLOAT_DTYPES, check_inside, read_headers, weight_files

# Weights come as safetensors only: a pickle runs code when it is loaded.
WEIGHT_PATTERNS = ["*.safetensors"]
OTHER_LAYOUTS = ["consolidated*", "original/*"]
"""The same weights in another layout, which some repositories hold too."""
BLOCK = re.compile(r"^model\.(?:language_model\.)?layers\.(\d+)\.")
"""The number of a layer in the name of a weight."""
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SETTINGS_PATTERNS = ["*.json", "*.jinja", "*.model", "*.txt", "*.py"]


def _refuse_adapter(folder: Path, setting: str) -> None:
    """Refuse an adapter beside the weights of a model: transformers would put it on the model, and load its base."""
    if (folder / ADAPTER_CONFIG).exists():
        raise FrameworkError(
            f"{setting}: the folder holds {ADAPTER_CONFIG} beside the weights of a model, and transformers would load "
            "that adapter with them: move it out of the folder, and evaluate it with checkpoint=ITS_FOLDER"
        )


class LocalModel(ModelSource):
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

    def parameters(self) -> int:
        """Count the parameters in the headers of the files on this machine, of a folder or of the Hub's cache.

        0 if there are none, if they cannot be read, or if they are not plain numbers. Layers that predict several
        tokens are left out, as transformers leaves them out. A file that is damaged is reported when the weights are
        checked.
        """
        counts: Counter[bool] = Counter()
        try:
            folder = self.folder if self._is_folder() else self._cached_folder()
            tensors = read_headers(weight_files(folder)).values()
        except (FrameworkError, OSError, ValueError):
            return 0
        for tensor in tensors:
            if not self._predicts_more(tensor.name):
                counts[tensor.dtype in FLOAT_DTYPES] += math.prod(tensor.shape)
        return counts[True] if counts[True] > counts[False] else 0

    def _cached_folder(self) -> Path:
        cached = try_to_load_from_cache(self.config.path, "config.json", revision=self.config.revision)
        if not isinstance(cached, str):
            raise FileNotFoundError(self.config.path)
        return Path(cached).parent

    def _predicts_more(self, weight: str) -> bool:
        """Whether a weight is of a layer that predicts several tokens: Qwen names it, others number it after the last.

        transformers loads no such layer.
        """
        config = self.config_json()
        layers = (config.get("text_config") or config).get("num_hidden_layers")
        match = BLOCK.search(weight)
        return weight.startswith("mtp.") or (match is not None and isinstance(layers, int) and int(match[1]) >= layers)

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
                sizes = CONFIGS.get(self.config.path) if self.config.revision is None else None
                if sizes is None:
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
                pickled = next((file.name for kind in PICKLE_PATTERNS for file in self.folder.glob(kind)), "")
                reason = (
                    f"; {pickled} is pickled, which runs code when it is loaded, and is not read" if pickled else ""
                )
                raise FrameworkError(
                    f"model.path={self.config.path}: the folder has no weights, no file *.safetensors{reason}"
                )
            return ModelPlace(self.folder.absolute(), str(self.folder.absolute()))
        patterns = {"allow_patterns": SETTINGS_PATTERNS + WEIGHT_PATTERNS * weights, "ignore_patterns": OTHER_LAYOUTS}
        folder = Path(self._ask(snapshot_download, **patterns))
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
        path, revision = self.config.path, self.config.revision
        return ask_hub(download, path, revision, setting=f"model.path={path}", **arguments)


def fetch_weights(source: ModelSource) -> ModelPlace:
    """Bring the safetensors of a base model to this machine.

    Raises:
        FrameworkError: it has none.
    """
    location = source.fetch(weights=True)
    if not any(location.folder.glob("*.safetensors")):
        raise FrameworkError(
            f"model {location.name} has no .safetensors: pickled weights run code when loaded and are refused"
        )
    check_inside(location.folder, f"model {location.name}")
    return location
