"""`exporter=model_card`: README.md beside what was exported, as the Hub reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import transformers
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.repocard import metadata_load
from yaml import YAMLError

from framework import Plan, Stage
from framework.api import Artifact, EvalResult, ExportContext, Exporter, Model, RunFolder, write_atomically
from framework.api.training import ModelPlace, ModelSource
from framework_plugins.exports import export_folder
from framework_plugins.exports.chat_template import system_prompt
from framework_plugins.exports.config import ModelCardExporterConfig, is_repo_id
from framework_plugins.exports.export_folder import README
from framework_plugins.exports.hub.base import id_of
from framework_plugins.exports.hub.card import CardFolder, RunFacts, SampleAnswers, escaped, render_card
from framework_plugins.exports.hub.usage_snippets import ChatSettings, usage_snippets
from framework_plugins.lib.auto_class import published_class
from framework_plugins.lib.hub import HTTP_ERROR
from framework_plugins.lib.network import reachable
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

TOKENS = "trainable_token_indices"
ADAPTER_SETTINGS = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "use_dora", "use_rslora", "rank_pattern",
    "alpha_pattern", "bias", TOKENS,
)  # fmt: skip
"""Settings of an adapter that say how it was trained."""


class ModelCardExporter(Exporter):
    """A card in each folder that the other exporters made; in the run folder if there is none."""

    after = ("adapter", "merged", "gguf", "gguf_adapter", "ollama")

    def __init__(self, config: ModelCardExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:  # noqa: ARG002 - as the protocol has it
        facts = self._facts(context)
        kind = published_class(transformers, context.plan.model.create().config_json()).__name__
        cards = []
        for folder, artifacts in _artifacts_by_folder(
            [artifact for artifact in context.artifacts if artifact.kind in self.after], context
        ).items():
            chat = ChatSettings(system_prompt(context), context.plan.model.config.template_switches)
            name = escaped(context.plan.name).lower()
            base, tokens = facts.base_id or facts.base_name, TOKENS in facts.adapter
            snippets = list(usage_snippets(artifacts, base, name, chat, kind, new_tokens=tokens))
            compared = {PurePosixPath(artifact.path).name: artifact.parity for artifact in artifacts if artifact.parity}
            text = render_card(CardFolder([artifact.kind for artifact in artifacts], snippets, compared), facts)
            file = context.run_dir / folder / README
            write_atomically(file, text)
            cards.append(Artifact("model_card", (folder / README).as_posix(), file.stat().st_size))
        return cards

    def _facts(self, context: ExportContext) -> RunFacts:
        plan, config = context.plan, self.config
        source: ModelSource = plan.model.create()
        location = source.fetch(weights=False)
        base = config.base_model or id_of(location)
        license_of_base = "" if config.license else location.license or base_license(location, base)
        elsewhere = plan.external_checkpoint is not None
        return RunFacts(
            plan=plan,
            report=context.report(),
            base_id=base,
            base_name=escaped(base or location.name),
            license=config.license or license_of_base,
            license_of_base=not config.license,
            datasets=config.datasets or _hub_datasets(plan),
            adapter=_adapter_settings(context.checkpoint),
            trained_elsewhere=elsewhere,
            answers=_sample_answers(context, config.answers),
        )


def _sample_answers(context: ExportContext, count: int) -> list[SampleAnswers]:
    """Return the first prompts of the run, with the answers of the base and the trained model."""
    folder = RunFolder(context.run_dir)
    before, after = (folder.load_result(stage, EvalResult) for stage in (Stage.baseline, Stage.evaluate))
    of_base = {sample.prompt: sample.answer for sample in before.samples} if before else {}
    samples = after.samples[:count] if after else []
    return [
        SampleAnswers(sample.prompt, of_base.get(sample.prompt), sample.answer, sample.reference) for sample in samples
    ]


def _artifacts_by_folder(
    artifacts: Sequence[Artifact], context: ExportContext
) -> Mapping[PurePosixPath, Sequence[Artifact]]:
    """Return the folders that hold artifacts, and the run folder if there is none."""
    folders: dict[PurePosixPath, list[Artifact]] = {}
    for artifact in artifacts:
        path = PurePosixPath(artifact.path)
        folder = path if (context.run_dir / path).is_dir() else path.parent
        folders.setdefault(folder, []).append(artifact)
    return folders or {PurePosixPath(): []}


def base_license(location: ModelPlace, base: str) -> str:
    """Return the license of a base by its own card; empty if there is none, or the Hub cannot be asked."""
    file = location.folder / README
    try:
        if not file.is_file() and base:
            offline = not reachable(ENDPOINT)
            revision = location.revision or None
            file = Path(hf_hub_download(base, README, revision=revision, local_files_only=offline))
        data = metadata_load(file) if file.is_file() else None
    except (HTTP_ERROR, OSError, ValueError, YAMLError):  # on a card nothing depends
        return ""
    name = (data or {}).get("license_name") or (data or {}).get("license")
    return name if isinstance(name, str) else ""


def _hub_datasets(plan: Plan) -> list[str]:
    path = plan.data.config.source()
    return [path] if plan.data.component.name == "hub" and is_repo_id(path) else []


def _adapter_settings(checkpoint: Path) -> Mapping[str, Any]:
    """Return the adapter's settings from its file; empty if all weights were trained."""
    file = checkpoint / ADAPTER_CONFIG
    config = export_folder.read_json(file) if file.is_file() else {}
    return {name: config[name] for name in ADAPTER_SETTINGS if config.get(name) not in (None, False, {}, [])}
