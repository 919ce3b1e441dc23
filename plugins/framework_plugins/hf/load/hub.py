"""`model=local`: a folder, or an id of the Hub.

`check` looks only at config.json, so it is quick and needs no torch; `fetch` brings tokenizer and safetensors. Hub
models are loaded from the folder of one commit afterwards, so nothing is looked up again during the run. While the Hub
is asked there are limits and signs of life: the libraries wait for each byte, but not for how many there are.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import constants, get_session, hf_hub_download, snapshot_download, try_to_load_from_cache
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
from tqdm.auto import tqdm

from framework import FrameworkError
from framework.api import plain_name, reachable, refuse_links, summarize_error
from framework.api.program import clock
from framework.api.training import ModelPlace, ModelSource
from framework_plugins.hf.load.model_settings import config_problem, read_settings
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.config import LocalModelConfig

HTTP_ERROR: Any = HfHubHTTPError.__bases__[0]
"""What the HTTP client raises, which depends on the version of huggingface_hub."""
UNWRITABLE_ERRORS = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
# Weights come as safetensors only: a pickle runs code when it is loaded.
WEIGHT_PATTERNS = ["*.safetensors"]
OTHER_LAYOUTS = ["consolidated*", "original/*"]
"""The same weights in another layout, which some repositories hold too."""
INDEX_PATTERN = "*.safetensors.index.json"
BLOCK = re.compile(r"^model\.(?:language_model\.)?layers\.(\d+)\.")
"""The number of a layer in the name of a weight."""
WEIGHT_INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
LARGEST_HEADER, PLAIN_DTYPES = 100 * 2**20, frozenset({"F64", "F32", "F16", "BF16"})
"""Bytes of the header of a file of weights, the limit of safetensors; and types of weights that are not quantized."""
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SETTINGS_PATTERNS = ["*.json", "*.jinja", "*.model", "*.txt", "*.py"]
SPEED_WINDOW = 30.0
"""Seconds over which the speed of an answer is measured."""
MIN_BYTES_PER_SECOND = 1024
"""Bytes a second; below that a model takes years."""
SECONDS_BETWEEN_REPORTS = 15.0
"""Seconds between two lines about a download, or about an answer that does not come."""


def check_inside(folder: Path, setting: str) -> None:
    """Make sure that a folder of weights reads only files of that folder; weights may be links to files elsewhere.

    Raises:
        FrameworkError: an index names a file elsewhere, or is none, or a link leads there. `setting` names the folder.
    """
    refuse_links(folder, setting, besides=".safetensors")
    for index in folder.glob(INDEX_PATTERN):
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            names = content["weight_map"].values()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise FrameworkError(
                f"{setting}: {index.name} is not an index of weights: {summarize_error(error)}"
            ) from error
        if outside := [name for name in names if not isinstance(name, str) or not plain_name(name)]:
            raise FrameworkError(
                f"{setting}: {index.name} names the file {outside[0]!r}, which is not in the folder: fetch the model "
                "again"
            )
        if index.name == WEIGHT_INDEX and not isinstance(content.get("metadata"), Mapping):
            raise FrameworkError(
                f'{setting}: {index.name} has no "metadata", which transformers reads: restore the file from its '
                'source, or add "metadata": {} to it'
            )
        if not names:
            raise FrameworkError(f"{setting}: {index.name} names no file in weight_map: fetch the model again")


class UnreachableError(FrameworkError):
    """A model is not on this machine, and the Hub does not answer."""


def _refuse_adapter(folder: Path, setting: str) -> None:
    """Refuse an adapter beside the weights of a model: transformers would put it on the model, and load its base."""
    if (folder / ADAPTER_CONFIG).exists():
        raise FrameworkError(
            f"{setting}: the folder holds {ADAPTER_CONFIG} beside the weights of a model, and transformers would load "
            "that adapter with them: move it out of the folder, and evaluate it with checkpoint=ITS_FOLDER"
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

    def parameters(self) -> int:
        """Count the parameters in the headers of the files on this machine, of a folder or of the Hub's cache.

        0 if there are none, if they cannot be read, or if they are not plain numbers. Layers that predict several
        tokens are left out, as transformers leaves them out. A file that is damaged is reported when the weights are
        checked.
        """
        counts: Counter[bool] = Counter()
        try:
            folder = self.folder if self._is_folder() else self._cached_folder()
            index = folder / WEIGHT_INDEX
            listed = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else ["model.safetensors"]
            for name in set(listed):
                with (folder / name).open("rb") as stream:
                    size = int.from_bytes(stream.read(8), "little")
                    header = json.loads(stream.read(size)) if size <= LARGEST_HEADER else {}
                header.pop("__metadata__", None)
                for key, tensor in header.items():
                    if not self._predicts_more(key):
                        counts[tensor["dtype"] in PLAIN_DTYPES] += math.prod(tensor["shape"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return 0
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
        bars = None if sys.stderr.isatty() else UndrawnBar
        patterns = {"allow_patterns": SETTINGS_PATTERNS + WEIGHT_PATTERNS * weights, "ignore_patterns": OTHER_LAYOUTS}
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
        path, revision = self.config.path, self.config.revision
        return ask_hub(download, path, revision, setting=f"model.path={path}", **arguments)


def ask_hub(
    download: Any,
    repo: str,
    revision: str | None,
    *,
    setting: str,
    kind: str = "model",
    instead: str = "model=local model.path=FOLDER",
    **arguments: Any,
) -> str:
    """Call the Hub and put its refusals into words.

    Args:
        download: a function of huggingface_hub that downloads.
        repo: the id.
        revision: of it.
        setting: names it, and begins each message.
        kind: of what is there.
        instead: the setting that names a folder.
        **arguments: for `download`.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        offline = not reachable(ENDPOINT)
        with with_limits(setting):
            return str(download(repo, revision=revision, local_files_only=offline, **arguments))
    except GatedRepoError as error:
        raise FrameworkError(
            f"{setting}: the {kind} is gated. Accept its terms at huggingface.co/{repo}, then log in: "
            "hf auth login, or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise FrameworkError(f"{setting}: the Hub has no revision {revision} of it") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FrameworkError(
            f"{setting}: no such folder here and no such {kind} on the Hub (a private one needs HF_TOKEN). "
            "An id is written owner/name"
        ) from error
    except LocalEntryNotFoundError as error:
        answer = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else None
        state = f"answers with an error ({summarize_error(answer)})" if answer else "cannot be reached"
        raise UnreachableError(
            f"{setting}: not on this machine, and the Hub {state}. Check the network and HF_ENDPOINT, or "
            f"give a folder: {instead}"
        ) from error
    except EntryNotFoundError as error:
        raise FrameworkError(
            f"{setting}: the repository has no {arguments.get('filename', 'config.json')}, so it holds no {kind}"
        ) from error
    except (HTTP_ERROR, OSError) as error:
        if (error_number := getattr(error, "errno", None)) in UNWRITABLE_ERRORS:
            raise FrameworkError(
                f"{setting}: the Hub's cache, {constants.HF_HUB_CACHE}, cannot be written: "
                f"{os.strerror(error_number)}. "
                f"Set HF_HUB_CACHE=FOLDER, or give a folder: {instead}"
            ) from error
        raise FrameworkError(f"{setting}: the Hub cannot be reached ({summarize_error(error)})") from error


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


class TooSlowError(FrameworkError):
    """The Hub sends less than could ever make a file."""


class UndrawnBar(tqdm):
    """A bar of a download that is not drawn: `with_limits` prints its numbers. For use if there is no terminal."""

    monitor_interval = 0  # no thread that would draw it
    known: ClassVar[list[UndrawnBar]] = []  # of this download; its threads add to it while it is read

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.pop("name", None)  # of the Hub's own class
        super().__init__(*args, **{**settings, "disable": False, "leave": False, "file": StringIO()})
        self.known.append(self)

    def display(self, *_args: Any, **_settings: Any) -> bool:
        """Draw nothing."""
        return True

    @classmethod
    def line(cls, seconds: float) -> str:
        """Write how much of a download has arrived after this many seconds; empty if there is none."""
        bars = [bar for bar in cls.known if bar.unit == "B" and bar.total]
        if not bars:
            return ""
        bar = max(bars, key=lambda candidate: candidate.n)
        # The first files are so small that their speed is none.
        remaining = f"  {clock(seconds * (bar.total - bar.n) / bar.n)} left" if bar.n > bar.total / 100 else ""
        return f"downloading, {cls.format_sizeof(bar.n, 'B')} of {cls.format_sizeof(bar.total, 'B')}{remaining}"


@contextmanager
def with_limits(setting: str) -> Iterator[None]:
    """Inside, an answer that drips raises an error, and a download and waiting are reported.

    Raises:
        FrameworkError: the Hub is too slow.
    """
    session = get_session()
    hooks = session.event_hooks
    if _limit_speed not in hooks.get("response", []):  # a new session, after a fork or an error, has none
        session.event_hooks = {**hooks, "response": [*hooks.get("response", []), _limit_speed]}
    stop, began = threading.Event(), time.monotonic()

    def report() -> None:
        while not stop.wait(SECONDS_BETWEEN_REPORTS):
            seconds = time.monotonic() - began
            line = UndrawnBar.line(seconds) or f"waiting for the Hub for {seconds:.0f} s …"
            print(f"{setting}: {line}", file=sys.stderr, flush=True)  # noqa: T201

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    except TooSlowError as error:
        raise FrameworkError(f"{setting}: {error}: check the network and HF_ENDPOINT, or try again later") from error
    finally:
        stop.set()
        UndrawnBar.known.clear()


def _limit_speed(response: Any) -> None:
    """Let a response raise while its body is read, if that comes too slowly."""
    read = response.iter_raw

    def measured(chunk_size: int | None = None) -> Iterator[bytes]:
        began, size = time.monotonic(), 0
        for chunk in read(chunk_size):
            size += len(chunk)
            seconds = time.monotonic() - began
            if seconds > SPEED_WINDOW:
                if size < MIN_BYTES_PER_SECOND * seconds:
                    raise TooSlowError(f"the Hub sends {size} bytes in {seconds:.0f} s")
                began, size = time.monotonic(), 0
            yield chunk

    response.iter_raw = measured
