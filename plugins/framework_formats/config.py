"""Options of `data=` and `format=`."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from framework.schema import DataConfig, FormatConfig


@dataclass
class LocalFileConfig(DataConfig):
    """Rows of a local .jsonl or .json file."""

    path: str = MISSING
    """The file: JSON objects, one a line, or one JSON array of objects."""
    validation_path: str | None = None
    """A second file whose rows are held out, instead of a split."""
    prompts_path: str | None = None
    """A file of rows whose last answers are the references of the before/after comparison."""


@dataclass
class HubConfig(DataConfig):
    """A data set of the Hugging Face Hub."""

    path: str = MISSING
    """The id, owner/name."""
    name: str | None = None
    """The configuration (subset) of the data set."""
    split: str = "train"
    """The split, also as a slice: train[:2000]."""
    revision: str | None = None
    """A branch, tag or commit."""


@dataclass
class AutoFormatConfig(FormatConfig):
    """Recognise the format of each row by its fields."""


@dataclass
class AlpacaConfig(FormatConfig):
    """instruction, input (may be missing or empty), output; optional system."""


@dataclass
class ChatMLConfig(FormatConfig):
    """messages (or conversations): a list of role and content."""


@dataclass
class ShareGPTConfig(FormatConfig):
    """conversations: a list of from and value (human, gpt, system…)."""


@dataclass
class PromptCompletionConfig(FormatConfig):
    """prompt and completion, as text or as lists of messages."""
