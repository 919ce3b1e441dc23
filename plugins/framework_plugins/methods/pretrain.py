"""Continued pretraining: a group is a block of plain texts, and the loss is that of `loss=`."""

from __future__ import annotations

from framework import FrameworkError
from framework.api import Example
from framework_plugins.methods.sft import Sft


class Pretrain(Sft):
    """Learns every token of plain texts."""

    def check(self, example: Example) -> None:
        """Refuse a conversation, and a text without a word."""
        if example.text is None:
            raise FrameworkError(
                f"has a conversation (format {example.format}), and method=pretrain learns plain text: method=sft "
                "learns the answers; rows of one field become plain text with format=text"
            )
        if not example.text.strip():
            raise FrameworkError("has a text without a word: data.on_bad_row=skip leaves such rows out")
