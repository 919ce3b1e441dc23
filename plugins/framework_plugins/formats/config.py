"""Options of `data=` and `format=`.

The settings of a source do not affect the tokenized rows: their cache key has the content that the source reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Len
from omegaconf import MISSING

from framework.api import Affects, DataConfig, FormatConfig


class SampleBy(Enum):
    """What a row of a .txt file is."""

    line = "line"
    paragraph = "paragraph"
    document = "document"


@dataclass
class LocalFileConfig(DataConfig):
    """Rows of local files: JSON, JSONL, CSV, TSV, Parquet, Arrow, plain text; each also as .gz or .zst."""

    path: Annotated[str, Len(1), ~Affects.rows] = MISSING
    """A file, a folder (all data files below it), or a glob: `data/**/*.jsonl`."""
    validation_path: Annotated[str | None, Len(1), ~Affects.rows] = None
    """The same for held-out rows, instead of a split."""
    validation_sets: dict[str, str] = field(default_factory=dict)
    """Several sets of held-out rows by name, `{orders: held/orders.jsonl, letters: held/letters.jsonl}`; each has a
    loss of its own, such as `eval_loss_orders`."""
    prompts_path: Annotated[str | None, Len(1), ~Affects.rows] = None
    """The same for rows whose last answers are the references of the before/after comparison."""
    sample_by: Annotated[SampleBy, ~Affects.rows] = SampleBy.line
    """A row of a .txt file: each line, each paragraph (separated by blank lines), or the whole file."""
    encoding: Annotated[str, Len(1), ~Affects.rows] = "utf-8"
    """The encoding of text files by its name in Python; `cp1252` for most tables that Excel and Windows write."""

    def source(self) -> str:
        return self.path

    def text_encoding(self) -> str:
        return self.encoding

    def validation_names(self) -> tuple[str, ...]:
        return tuple(self.validation_sets)

    def brings_validation(self) -> bool:
        return bool(self.validation_path or self.validation_sets)


@dataclass
class HubConfig(DataConfig):
    """A data set of the Hugging Face Hub."""

    path: Annotated[str, Len(1), ~Affects.rows] = MISSING
    """The id, owner/name."""
    name: Annotated[str | None, ~Affects.rows] = None
    """The configuration (subset) of the data set."""
    split: Annotated[str, Len(1), ~Affects.rows] = "train"
    """The split, or a slice of it: train[:2000]."""
    validation_split_name: Annotated[str | None, ~Affects.rows] = None
    """A split, or a slice of one, whose rows are held out instead of a share of `split`."""
    revision: Annotated[str | None, ~Affects.rows] = None
    """A branch, tag or commit."""
    streaming: Annotated[bool, ~Affects.rows] = False
    """Fetch the rows over the network as they are needed, instead of downloading the split first."""

    def brings_validation(self) -> bool:
        return self.validation_split_name is not None

    def source(self) -> str:
        return self.path


@dataclass
class AutoFormatConfig(FormatConfig):
    """Recognize the format of each row by its fields; a row that fits several is refused."""


@dataclass
class AlpacaConfig(FormatConfig):
    """instruction, input (may be missing or empty), output; optional system, history (pairs), tools."""


@dataclass
class ChatMLConfig(FormatConfig):
    """messages (or conversations): a list of role and content, with tool_calls and tools as OpenAI writes them."""


@dataclass
class ShareGPTConfig(FormatConfig):
    """conversations: a list of from and value (human, gpt, function_call, observation…); optional system, tools."""


@dataclass
class PromptCompletionConfig(FormatConfig):
    """prompt and completion, as text or as lists of messages; optional system, tools."""


@dataclass
class PreferenceConfig(FormatConfig):
    """chosen and rejected, the prompt beside or in them; or answers of which a rank, score or label names the best."""


@dataclass
class UnpairedConfig(FormatConfig):
    """A question, an answer, and a label that says whether it is wanted (label, kto_tag, desirable, thumbs_up)."""

    wanted: list[str] = field(default_factory=list)
    """Labels of answers that are wanted, `[helpful]`, instead of true, 1, yes, good, desirable and the like."""
    unwanted: list[str] = field(default_factory=list)
    """Labels of answers that are not, `[harmful]`; if either setting has an entry, any other label is refused."""


@dataclass
class TextConfig(FormatConfig):
    """text: plain text, learned from its first to its last token without a chat template."""
