"""Problems of exports that show before anything is loaded: they would fail after hours otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import ExportResult, Problem, RunFolder, plain_name, unknown
from framework_plugins.exports import ollama as ollama_checks
from framework_plugins.exports.config import (
    AdapterExporterConfig,
    GgufExporterConfig,
    MergedExporterConfig,
    ModelCardExporterConfig,
    PushExporterConfig,
    is_repo_id,
)
from framework_plugins.exports.export_folder import folder_problem
from framework_plugins.exports.gguf import checks
from framework_plugins.exports.hub.base import given_id, unknown_base
from framework_plugins.lib.weight_files import MXFP4

NOT_PUSHED = frozenset({"push", "model_card"})
"""Exporters whose artifacts are not artifacts of their own on the Hub: a card goes with its folder."""
PUSHABLE = ("adapter", "merged", "gguf", "gguf_adapter", "ollama")
"""Exporters whose artifacts can be pushed."""
MERGING = (MergedExporterConfig, GgufExporterConfig)
"""Exporters that merge the adapter into the weights."""
MARKING = (AdapterExporterConfig, MergedExporterConfig)
"""Exporters that leave the mark of an export in their folder."""


def problems(plan: Plan) -> Iterator[Problem]:
    """Say what keeps the exports of a plan from being made, a sentence each."""
    yield from _folders(plan)
    for name, choice in plan.exporter.items():
        yield from checks.problems(plan, name, choice)
        if isinstance(choice.config, ModelCardExporterConfig):
            for wrong in (dataset for dataset in choice.config.datasets if not is_repo_id(dataset)):
                yield Problem(f"exporter.{name}.datasets: {wrong} is not a Hub id: write owner/name")
    yield from ollama_checks.problems(plan, {*_earlier_kinds(plan)})
    yield from _push(plan)


def model_problems(plan: Plan, config: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse exports that cannot be made of a model, by its config.json."""
    yield from checks.model_problems(plan, config)
    saved = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not saved or Stage.export not in plan.intended_stages or plan.external_checkpoint:
        return
    if (kind := saved.get("quant_method") or "an unnamed method") == MXFP4:
        return
    for name, choice in plan.exporter.items():
        if isinstance(choice.config, MERGING):
            yield Problem(
                f"exporter.{name}: the weights of the model are quantized ({kind}), so nothing can be merged into "
                "them: take the model in 16 bits, or keep the adapter separate, exporter=[adapter]"
            )


def _folders(plan: Plan) -> Iterator[Problem]:
    folders: dict[str, str] = {}
    for name, choice in plan.exporter.items():
        folder = choice.config.folder_name()
        if folder is None:
            continue
        if not plain_name(folder) or folder == RunFolder.CHECKPOINT:
            yield Problem(
                f"exporter.{name}.folder={folder} must be one plain name inside the run folder, such as {name}",
                (f"exporter.{name}.folder",),
            )
        elif folder in folders:
            yield Problem(
                f"exporter.{name}.folder={folder} is also that of exporter.{folders[folder]}: choose another name",
                (f"exporter.{name}.folder",),
            )
        elif isinstance(choice.config, MARKING) and (problem := folder_problem(plan.run_dir / folder)):
            yield Problem(f"exporter.{name}.folder={folder}: {problem}", (f"exporter.{name}.folder",))
        folders[folder] = name


def _earlier_kinds(plan: Plan) -> Iterator[str]:
    """Give the kinds of artifacts that earlier exports of the run left; training again makes them out of date."""
    if Stage.train in plan.intended_stages:
        return
    try:
        earlier = RunFolder(plan.run_dir).load_result(Stage.export, ExportResult)
    except FrameworkError:  # a damaged record: the run says so
        return
    yield from dict.fromkeys(artifact.kind for artifact in earlier.artifacts) if earlier else ()


def _push(plan: Plan) -> Iterator[Problem]:
    for key, choice in plan.exporter.items():
        if not isinstance(choice.config, PushExporterConfig):
            continue
        from huggingface_hub import get_token  # noqa: PLC0415 - for those who push

        exported = [name for name in [*plan.exporter, *_earlier_kinds(plan)] if name not in NOT_PUSHED]
        for kind in choice.config.what:
            if kind not in exported:
                add = (
                    f" To export it too, set exporter=[{','.join([*plan.exporter, kind])}]." if kind in PUSHABLE else ""
                )
                yield Problem(f"exporter.{key}.what: {unknown('exporter of this run', kind, exported)}{add}")
        adapter = "adapter" in choice.config.what and not plan.adapter.config.trains_all
        folder = plan.model.config.source()
        # Of other sources the exporter asks once the model is there, before the training too.
        if Stage.train in plan.intended_stages and adapter and folder and Path(folder).is_dir() and not given_id(plan):
            yield Problem(unknown_base(f"exporter.{key}: the adapter", plan))
        if not choice.config.dry_run and Stage.export in plan.intended_stages and get_token() is None:
            yield Problem(
                f"exporter.{key} needs a Hub token: log in with `hf auth login`, set HF_TOKEN, or preview the push "
                f"with exporter.{key}.dry_run=true"
            )
