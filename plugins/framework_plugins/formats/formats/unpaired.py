"""`format=unpaired`: an answer and a label that says whether it is wanted, as KTO learns from."""

from __future__ import annotations

from dataclasses import replace

from framework.api import Example, FormatConfig
from framework_plugins.formats.config import UnpairedConfig
from framework_plugins.formats.formats import shapes, turns
from framework_plugins.formats.formats.alpaca import Alpaca
from framework_plugins.formats.formats.dialogue import ChatML, ShareGPT
from framework_plugins.formats.formats.names import LABEL_FIELDS
from framework_plugins.formats.formats.prompt_completion import PromptCompletion
from framework_plugins.formats.formats.values import Fields, Format, is_labelled, label_facts, missing

Reader = Alpaca | PromptCompletion | ChatML | ShareGPT


class Unpaired(Format):
    """Question and answer in the fields of another format, and a label beside them."""

    name = "unpaired"

    def __init__(self, config: UnpairedConfig) -> None:
        super().__init__(config)
        self._labels = config.wanted, config.unwanted
        kinds: tuple[type[Reader], ...] = (Alpaca, PromptCompletion, ChatML, ShareGPT)
        self._readers: dict[str, Reader] = {kind.name: kind(FormatConfig()) for kind in kinds}

    def matches(self, fields: Fields) -> bool:
        """Has a label, and a question and an answer that another format reads."""
        return is_labelled(fields) and self._reader(_remove_label(fields)) is not None

    def read(self, fields: Fields) -> Example:
        """Let the other format read the question and the answer."""
        if not is_labelled(fields):
            raise missing(fields, "label")
        plain = _remove_label(fields)
        reader = self._reader(plain)
        if reader is None and (shape := shapes.recognize_shape(plain)) is not None and shape[0] in self._readers:
            reader, plain = self._readers[shape[0]], shape[1]
        if reader is None:
            raise missing(plain, "completion")
        example = reader.read(plain)
        # The label is about the last answer.
        messages = (*turns.as_context(example.messages[:-1]), example.messages[-1])
        return replace(example, messages=messages, format=self.name, facts=label_facts(fields, *self._labels))

    def _reader(self, plain: Fields) -> Reader | None:
        return next((reader for reader in self._readers.values() if reader.matches(plain)), None)


def _remove_label(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name not in LABEL_FIELDS}
