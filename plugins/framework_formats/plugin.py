"""Registers the sources and formats."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_formats import config


@hookimpl
def framework_sources() -> Iterable[Component]:
    """Local files and the Hub."""
    yield Component("local_file", config.LocalFileConfig, "framework_formats.files:LocalFile")
    yield Component("hub", config.HubConfig, "framework_formats.hub:Hub")


@hookimpl
def framework_formatters() -> Iterable[Component]:
    """The formats of the field, and their recognition."""
    formats = "framework_formats.formats"
    yield Component("auto", config.AutoFormatConfig, f"{formats}:Auto")
    yield Component("alpaca", config.AlpacaConfig, f"{formats}:Alpaca")
    yield Component("chatml", config.ChatMLConfig, f"{formats}:ChatML")
    yield Component("sharegpt", config.ShareGPTConfig, f"{formats}:ShareGPT")
    yield Component("prompt_completion", config.PromptCompletionConfig, f"{formats}:PromptCompletion")
