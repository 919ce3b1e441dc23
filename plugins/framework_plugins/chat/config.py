"""The command `chat`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api.schema import CommandConfig


@dataclass
class ChatCommandConfig(CommandConfig):
    """Talk to the model of a run, base and tuned side by side: `chat RUN_DIR [OVERRIDES…] [OPTIONS]`.

    In a terminal prompts are typed and answers stream; /help lists the commands. Through pipes each line of standard
    input is a prompt, and standard output has the answers and nothing else.

      --base, --tuned, --both   who answers at first; default: both in a terminal, tuned through pipes
      --NAME [WORD]             a speaker of a plugin answers instead, --gguf for example; `plugins speaker` lists them
      --system TEXT             the system prompt; default: that of the training, format.system_prompt
      --max-new-tokens N        tokens of an answer, at most; default: 512
      --temperature X           0, the default, takes the likeliest token each time; 1 draws as the model has it
      --top-p X                 draw among the likeliest tokens that have this much probability together; default: 1
      --seed N                  of the draws; default: another one for each answer
      --json                    for each answer an object in a line: speaker, prompt, answer, dropped

    OVERRIDES change what the run was made of, trainer.device=cpu for example.
    """
