"""The command `chat`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api.program import CommandConfig


@dataclass
class ChatCommandConfig(CommandConfig):
    """Talk to the model of a run, base and tuned side by side.

    In a terminal, type prompts and watch the answers stream; /help lists the commands. In a pipe, each line of standard
    input is the next prompt of one conversation (/reset begins another). The tuned model answers it (--both: the base
    too), and standard output has only the answers.
    """
