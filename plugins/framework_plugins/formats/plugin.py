"""Registers the sources and formats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from framework import Component, FrameworkError, hookimpl
from framework.api import Diagnostic, Problem, plugins, unknown
from framework_plugins.formats import config

if TYPE_CHECKING:
    from framework import Plan


@hookimpl
def framework_components() -> Iterable[Component]:
    """Local files and the Hub, the formats of the field, and their recognition."""
    yield Component("local_file", config.LocalFileConfig, "framework_plugins.formats.files:LocalFile")
    yield Component("hub", config.HubConfig, "framework_plugins.formats.hub:Hub")
    formats = "framework_plugins.formats.formats"
    yield Component("auto", config.AutoFormatConfig, f"{formats}:Auto")
    yield Component("alpaca", config.AlpacaConfig, f"{formats}:Alpaca")
    yield Component("chatml", config.ChatMLConfig, f"{formats}:ChatML")
    yield Component("sharegpt", config.ShareGPTConfig, f"{formats}:ShareGPT")
    yield Component("prompt_completion", config.PromptCompletionConfig, f"{formats}:PromptCompletion")
    yield Component("preference", config.PreferenceConfig, f"{formats}:Preference")
    yield Component("unpaired", config.UnpairedConfig, f"{formats}:Unpaired")
    yield Component("text", config.TextConfig, f"{formats}:Text")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse names in `format.columns` that the format never reads, a system prompt for plain text, an encoding."""
    if isinstance(plan.data.config, config.LocalFileConfig) and plan.data.config.encoding != "utf-8":
        from framework_plugins.formats.encodings import codec  # noqa: PLC0415 - for those who set one

        try:
            codec(plan.data.config.encoding, "data.encoding")
        except FrameworkError as error:
            yield Problem(str(error), ("data.encoding",))
    settings, option = plan.format.config, plan.format.component.name
    if option == "text" and settings.system_prompt is not None:
        yield Problem("format.system_prompt does nothing with format=text: plain text has no turns", ("format",))
    if settings.columns:
        yield from _unread(option, settings.columns)


def _unread(option: str, columns: Iterable[str]) -> Iterable[Problem]:
    from framework_plugins.formats.formats.names import READS  # noqa: PLC0415 - for those who rename fields

    ours = {
        name
        for name, part in plugins().components("format").items()
        if part.factory.startswith("framework_plugins.formats.")
    }
    schemas: dict[str, Any] = {name: part.schema for name, part in plugins().components("format").items()}
    guessed = {name for name, schema in schemas.items() if schema.guessed}
    if option == "auto" and guessed <= ours:
        fields = sorted({name for names in READS.values() for name in names})
    elif option in ours - {"auto"}:
        fields = sorted(READS[option])
    else:
        return  # what a format of another plugin reads is its own business
    for name in columns:
        if name not in fields:
            yield Problem(f"format.columns.{name}: {unknown(f'field of format={option}', name, fields)}")


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """The Hub and its token, and local files."""
    code = "framework_plugins.formats.diagnostics"
    yield Diagnostic("Hub", "data", f"{code}:hub", _needs_hub, "quick")
    yield Diagnostic("Hub token", "data", f"{code}:token", process="quick")
    yield Diagnostic("local files", "data", f"{code}:local_files", _reads_files, "quick")


def _needs_hub(plan: Plan) -> bool:
    """Whether the data come over the network; the check of the model says the same of the model."""
    settings = plan.data.config
    if not isinstance(settings, config.HubConfig):
        return False
    from framework_plugins.formats.diagnostics import is_cached  # noqa: PLC0415 - for those whose data lie on the Hub

    return settings.streaming or not is_cached(settings.path)


def _reads_files(plan: Plan) -> bool:
    return isinstance(plan.data.config, config.LocalFileConfig)
