"""Problems of GGUF exports that the plan shows, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Selection
from framework.api import Problem, display_path
from framework_plugins.exports.config import GgufAdapterExporterConfig, GgufExporterConfig
from framework_plugins.exports.export_folder import README
from framework_plugins.exports.llama.quantizations import QUANTIZATIONS, lower_names, unknown_names

ADAPTER_SUFFIX = "LoRA"
"""Is in the name of an adapter's file where others have their quantization."""
PLAIN_ADAPTERS = ("lora", "rslora")
"""Adapters that are a pair of matrices beside a layer and nothing else."""


def problems(plan: Plan, name: str, choice: Selection) -> Iterator[Problem]:
    """Say what is wrong with the exporter `name` of a plan, where it writes GGUF files."""
    config = choice.config
    if not isinstance(config, GgufExporterConfig | GgufAdapterExporterConfig):
        return
    from framework_plugins.exports.gguf.convert import converter  # noqa: PLC0415 - other runs need not pay for it

    key, tree = f"exporter.{name}", config.llama_cpp_dir
    if isinstance(config, GgufExporterConfig):
        yield from _quantization_problems(key, config)
    else:
        yield from _adapter_problems(key, plan)
    if problem := folder_problem(plan.run_dir / config.folder, config.file_name or str(plan.config["name"])):
        yield Problem(problem)
    if lacking := converter.missing_libraries(tree=tree is not None):
        yield Problem(f"{key} {lacking}")
        return
    try:
        converter.architectures(tree)
    except FrameworkError as error:
        setting = f"{key}.llama_cpp_dir"
        yield Problem(f"{setting}={tree}: {error}", (setting,)) if tree else Problem(f"{key}: {error}")


def model_problems(plan: Plan, model: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse a model whose config.json names an architecture that the converter does not know."""
    text = model.get("text_config") or {}
    architectures = [*(text.get("architectures") or []), *(model.get("architectures") or [])]
    for name, choice in plan.exporter.items():
        config = choice.config
        if not architectures or not isinstance(config, GgufExporterConfig | GgufAdapterExporterConfig):
            continue
        from framework_plugins.exports.gguf.convert import converter  # noqa: PLC0415 - other runs need not pay for it

        names = converter.architectures(config.llama_cpp_dir)
        if converter.architecture(model, names) is None:
            key = f"exporter.{name}"
            yield Problem(
                f"{key}: llama.cpp's converter does not know the architecture {architectures[0]}, only {len(names)} "
                f"others: set {key}.llama_cpp_dir to a newer llama.cpp (docs/explanation/gguf.md), leave the exporter "
                "out, or take another model"
            )


def file_name(name: str, quantization: str) -> str:
    """Return the name of a file, `run-Q4_K_M.gguf`; what a file system does not take becomes a dash."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
    return f"{plain}-{quantization if quantization == ADAPTER_SUFFIX else quantization.upper()}.gguf"


def folder_problem(folder: Path, name: str) -> str:
    """Say that a folder holds something that no export of this name wrote; empty if it does not."""
    if not folder.exists():
        return ""
    ours = {README, *(file_name(name, quantization) for quantization in (*QUANTIZATIONS, ADAPTER_SUFFIX))}
    foreign_files = (
        sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else ["a file"]
    )
    if not foreign_files:
        return ""
    return f"{display_path(folder)} is not empty, it holds {foreign_files[0]}: move it away, or set another folder"


def _quantization_problems(key: str, config: GgufExporterConfig) -> Iterator[Problem]:
    names = lower_names(config.quantizations)
    for problem in unknown_names(names):
        yield Problem(f"{key}.quantizations: {problem}")
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"{key}.quantizations names {name} twice")


def _adapter_problems(key: str, plan: Plan) -> Iterator[Problem]:
    kind = plan.adapter.component.name
    if kind == "full":
        yield Problem(f"{key}: adapter=full trains all weights, so there is no adapter to write: set exporter=[gguf]")
    elif kind == "dora":
        yield Problem(
            f"{key}: adapter=dora has magnitudes besides its two matrices, which GGUF cannot store: "
            "set exporter=[gguf], which merges them, or adapter=lora|rslora"
        )
    elif plan.model.config.new_tokens:
        yield Problem(f"{key}: model.new_tokens trains embeddings: set exporter=[gguf], which merges them")
    elif kind in PLAIN_ADAPTERS and (setting := plan.adapter.config.beyond_matrices()):
        yield Problem(f"{key}: {setting} cannot be stored in a GGUF adapter: set exporter=[gguf], which merges it")
    elif kind not in PLAIN_ADAPTERS:
        valid = "|".join(PLAIN_ADAPTERS)
        yield Problem(f"{key}: only adapter={valid} can be a GGUF adapter, not adapter={kind}: set exporter=[gguf]")
