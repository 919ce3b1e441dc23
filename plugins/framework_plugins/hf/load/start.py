"""`adapter.start`: the trained adapter that a training starts from. Without torch: the plan compares its settings."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from framework import FrameworkError, Plan
from framework.api import Problem, RunFolder, as_plain, as_text, summarize_error
from framework.api.program import newest_run
from framework.api.training import Start
from framework_plugins.hf.load.hub import SETTINGS_PATTERNS, WEIGHT_PATTERNS
from framework_plugins.hf.settings.config import Bias, LoraAdapterConfig
from framework_plugins.hf.settings.layer_targets import ALL_LINEAR
from framework_plugins.hf.settings.library_fields import non_default
from framework_plugins.lib.hub import ask_hub
from framework_plugins.lib.model_settings import read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_inside

NEW_ADAPTER = "or adapter.merge_first=true, which trains a new adapter beside it"
NOT_A_SUM = {"modules_to_save": "whole modules", "trainable_token_indices": "rows of tokens", "use_dora": "magnitudes"}
"""Settings of an adapter that is more than something added to the weights of layers, and what it trains then."""


def find_start(config: LoraAdapterConfig, *, weights: bool) -> Start:
    """Return the adapter that `adapter.start` names; without `weights` its settings are enough.

    Raises:
        FrameworkError: there is none, it is not a LoRA, or it cannot be read.
    """
    source = str(config.start)
    folder = _folder(source, weights=weights)
    setting = f"adapter.start={source}"
    content = _read_content(folder, setting)
    file = folder / ADAPTER_WEIGHTS
    if weights and not file.is_file():
        raise FrameworkError(
            f"{setting}: {folder} has no {ADAPTER_WEIGHTS}: the weights are missing, or pickled, which is not read"
        )
    base = str(content.get("base_model_name_or_path") or "")
    return Start(source, folder, base, _settings(content, setting), config.merge_first, file)


def problems(plan: Plan, config: LoraAdapterConfig) -> Iterator[Problem]:
    """Say which settings of a plan do not fit the adapter that it starts from, a sentence each."""
    if config.start is None:
        if config.merge_first:
            yield Problem(
                "adapter.merge_first=true needs the trained adapter: set adapter.start=RUN_DIR|FOLDER|HUB_ID",
                ("adapter.merge_first",),
            )
        return
    setting, option = f"adapter.start={config.start}", plan.adapter.component.name
    try:
        folder = _folder(config.start, weights=False)
        content = _read_content(folder, setting)
        settings = _settings(content, setting)
    except FrameworkError as error:
        yield Problem(str(error), ("adapter.start",))
        return
    if folder.resolve().parent == plan.run_dir.resolve():
        yield Problem(
            f"{setting} is in the folder of this run, which would replace it: set another run_dir", ("adapter.start",)
        )
    kind = "dora" if content.get("use_dora") else "rslora" if content.get("use_rslora") else "lora"
    if config.merge_first:
        combined = {**content, "use_dora": content.get("use_dora") or option == "dora"}
        obstacles = [description for name, description in NOT_A_SUM.items() if combined.get(name)]
        obstacles += ["biases"] if (combined.get("bias") or "none") != "none" or config.bias is not Bias.none else []
        if obstacles:
            yield Problem(
                f"adapter.merge_first=true adds a new adapter to that of {setting}, and a sum cannot have "
                f"{' and '.join(obstacles)}: merge it, stages=[export] checkpoint={config.start} exporter=[merged], "
                "and train on the folder that this makes, model=local model.path=FOLDER",
                ("adapter.merge_first", "adapter.start"),
            )
        return
    if kind != option:
        yield Problem(
            f"adapter={option}, and the adapter of {setting} is {kind}: set adapter={kind}, {NEW_ADAPTER}",
            ("adapter", "adapter.start"),
        )
    for name, saved in settings.items():
        configured = as_plain(getattr(config, name))
        if name != "target_modules" and configured != as_plain(saved):  # layers are compared, once the model is known
            yield Problem(
                f"adapter.{name}={as_text(configured)}, and the adapter of {setting} has {as_text(as_plain(saved))}: "
                f"leave adapter.{name} out, {NEW_ADAPTER}",
                (f"adapter.{name}", "adapter.start"),
            )
    for name in non_default(config.args):
        yield Problem(
            f"adapter.args.{name} is set, and the adapter of {setting} stays as it is: leave it out, {NEW_ADAPTER}",
            ("adapter.start",),
        )


def _folder(source: str, *, weights: bool) -> Path:
    """Return the folder of an adapter: the folder itself, the checkpoint of a run, or of the newest run below a folder.

    Else its files on the Hub.
    """
    setting, folder = f"adapter.start={source}", Path(source).expanduser()
    if folder.is_dir():
        for candidate in (folder, folder / RunFolder.CHECKPOINT):
            if (candidate / ADAPTER_CONFIG).is_file():
                check_inside(candidate, setting)
                return candidate.absolute()
        if (folder / RunFolder.CHECKPOINT).is_dir():
            raise FrameworkError(
                f"{setting}: this run trained all weights, not an adapter: export them, stages=[export] "
                f"run_dir={source} exporter=[merged], and train on that, adapter=full model=local model.path=FOLDER"
            )
        if newest := _newest_run(folder):
            return _folder(str(newest), weights=weights)
        raise FrameworkError(
            f"{setting}: the folder has no {ADAPTER_CONFIG}, no {RunFolder.CHECKPOINT}/ with one, and no trained runs: "
            "give the folder of a finished run or of an adapter, or an id on the Hub"
        )
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise FrameworkError(f"{setting}: there is no such folder: give the folder of a finished run, or of an adapter")
    candidate = _from_hub(source, weights=weights)
    if not (candidate / ADAPTER_CONFIG).is_file():
        raise FrameworkError(f"{setting}: the repository has no {ADAPTER_CONFIG}, so it holds no adapter of peft")
    return candidate


def _newest_run(folder: Path) -> Path | None:
    with suppress(FrameworkError):
        return newest_run(folder)
    return None


@functools.cache
def _from_hub(repo: str, *, weights: bool) -> Path:
    """Return the folder of a repository, which is downloaded once."""
    patterns = [*SETTINGS_PATTERNS, *(WEIGHT_PATTERNS if weights else ())]
    names = {"setting": f"adapter.start={repo}", "kind": "adapter", "instead": "adapter.start=FOLDER"}
    return Path(ask_hub(snapshot_download, repo, None, **names, allow_patterns=patterns))


def _read_content(folder: Path, setting: str) -> Mapping[str, Any]:
    """Return the settings in the file of an adapter."""
    content = read_adapter_config(folder, setting)
    if (kind := content.get("peft_type")) != "LORA":
        raise FrameworkError(f"{setting}: {ADAPTER_CONFIG} has peft_type={kind}, and only LORA is trained here")
    return content


def _settings(content: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return the fields of an adapter's file that are settings of `adapter=`; absent fields have peft's defaults.

    Raises:
        FrameworkError: one has another type.
    """
    targets, blocks = content.get("target_modules") or ALL_LINEAR, content.get("layers_to_transform")
    try:
        return {
            "r": int(content.get("r", 8)),
            "lora_alpha": int(content.get("lora_alpha", 8)),
            "target_modules": [targets] if isinstance(targets, str) else sorted(map(str, targets)),
            "layers_to_transform": [blocks] if isinstance(blocks, int) else blocks and list(map(int, blocks)),
            **{
                name: {str(layer): int(value) for layer, value in dict(content.get(name) or {}).items()}
                for name in ("rank_pattern", "alpha_pattern")
            },
            "bias": Bias(content.get("bias") or "none"),
            "modules_to_save": list(map(str, content.get("modules_to_save") or [])),
        }
    except (TypeError, ValueError) as error:
        raise FrameworkError(
            f"{setting}: {ADAPTER_CONFIG} cannot be read: {summarize_error(error)}: save the adapter again"
        ) from error
