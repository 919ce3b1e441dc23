"""The command `chat`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api.schema import CommandConfig


@dataclass
class ChatCommandConfig(CommandConfig):
    """Talk to the model of a run, base and tuned side by side.

    In a terminal prompts are typed and answers stream; /help lists the commands. Through pipes each line of standard
    input is the next prompt of one conversation (/reset begins another), the tuned model answers it (--both: the base
    too), and standard output has the answers and nothing else.
    """
