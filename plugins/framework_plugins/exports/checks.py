"""Problems of exports that show before anything is loaded: they would fail after hours otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from framework.api.errors import FrameworkError
from framework.api.plan import CHECKPOINT, Plan
from framework.api.records import ExportResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage, plain_name
from framework.api.text import unknown
from framework_plugins.exports.config import (
    AdapterExporterConfig,
    MergedExporterConfig,
    ModelCardExporterConfig,
    PushExporterConfig,
    is_repo_id,
)
from framework_plugins.exports.folders import foreign
from framework_plugins.exports.gguf import checks
from framework_plugins.exports.ollama import checks as ollama_checks

NOT_PUSHED = frozenset({"push", "model_card"})
"""Exporters whose artifacts are no artifact of their own on the Hub: a card goes with its folder."""
MADE = ("adapter", "merged", "gguf", "gguf_adapter", "ollama")
"""Exporters whose artifacts can be pushed."""
OURS = (AdapterExporterConfig, MergedExporterConfig)
"""Exporters that leave the mark of an export in their folder."""


def problems(plan: Plan) -> Iterator[str]:
    """Say what keeps the exports of a plan from being made, a sentence each."""
    yield from _folders(plan)
    for name, choice in plan.exporter.items():
        yield from checks.problems(plan, name, choice)
        if isinstance(choice.config, ModelCardExporterConfig):
            for wrong in (one for one in choice.config.datasets if not is_repo_id(one)):
                yield f"exporter.{name}.datasets: {wrong} is not a Hub id: write owner/name"
    yield from ollama_checks.problems(plan, {*_left(plan)})
    yield from _push(plan)


def _folders(plan: Plan) -> Iterator[str]:
    folders: dict[str, str] = {}
    for name, choice in plan.exporter.items():
        folder = getattr(choice.config, "folder", None)
        if folder is None:
            continue
        if not plain_name(folder) or folder == CHECKPOINT:
            yield f"exporter.{name}.folder={folder} must be one plain name inside the run folder, such as {name}"
        elif folder in folders:
            yield f"exporter.{name}.folder={folder} is also that of exporter.{folders[folder]}: choose another name"
        elif isinstance(choice.config, OURS) and (problem := foreign(plan.run_dir / folder)):
            yield f"exporter.{name}.folder={folder}: {problem}"
        folders[folder] = name


def _left(plan: Plan) -> Iterator[str]:
    """Give the kinds of artifacts that earlier exports of the run left; training again makes them out of date."""
    if Stage.train in plan.stages:
        return
    try:
        earlier = RunFolder(plan.run_dir).load_result(Stage.export, ExportResult)
    except FrameworkError:  # a damaged record: the run says so
        return
    yield from dict.fromkeys(artifact.kind for artifact in earlier.artifacts) if earlier else ()


def _push(plan: Plan) -> Iterator[str]:
    for key, choice in plan.exporter.items():
        if not isinstance(choice.config, PushExporterConfig):
            continue
        from huggingface_hub import get_token  # noqa: PLC0415 - for those who push

        exported = [name for name in [*plan.exporter, *_left(plan)] if name not in NOT_PUSHED]
        for kind in choice.config.what:
            if kind not in exported:
                add = f" To export it too, set exporter=[{','.join([*plan.exporter, kind])}]." if kind in MADE else ""
                yield f"exporter.{key}.what: {unknown('exporter of this run', kind, exported)}{add}"
        if not choice.config.dry_run and Stage.export in plan.stages and get_token() is None:
            yield (
                f"exporter.{key} needs a Hub token: log in with `hf auth login`, set HF_TOKEN, or preview the push "
                f"with exporter.{key}.dry_run=true"
            )
