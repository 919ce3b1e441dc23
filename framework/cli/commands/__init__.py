"""The core's own commands. They are components like everyone's, registered by this module as the plugin `core`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from framework.api.component import Component
from framework.api.markers import hookimpl
from framework.api.schema import CommandConfig


@dataclass
class PluginsCommandConfig(CommandConfig):
    """List what can be chosen, from which package, and what it lacks here: `plugins [GROUP [OPTION]] [--json]`."""


@dataclass
class RerunCommandConfig(CommandConfig):
    """Run what a run folder was made of once more, into a new folder: `rerun RUN_DIR [OVERRIDES…] [--anyway]`."""


@dataclass
class ResumeCommandConfig(CommandConfig):
    """Run what is missing of a sweep: points that failed, were killed or never began: `resume SWEEP_FOLDER`."""


@dataclass
class DiffCommandConfig(CommandConfig):
    """Compare what two runs were made of and what came of them: `diff RUN_A RUN_B [--json]`."""


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


@dataclass
class DoctorCommandConfig(CommandConfig):
    """Look at this machine, and say whether a run can start on it: `doctor [OVERRIDES…] [--json]`."""


@dataclass
class ReferenceCommandConfig(CommandConfig):
    """Write a page of all settings, and JSON Schemas for editors: `reference FOLDER [--package NAME]`."""


@dataclass
class PlanTableCommandConfig(CommandConfig):
    """Print what models of common sizes take: `plan-table [--rows FILE.csv [OUT.csv] | --gpus] [--json]`.

    --rows FILE.csv [OUT.csv]   predict the memory of measured runs, a row each; to standard output without OUT.csv
    --gpus                      large models on many GPUs
    --json                      the table as JSON
    """


def usage(config: type[CommandConfig]) -> str:
    """Return how a command is typed, as the first line of its documentation says it."""
    return f"python -m framework {(config.__doc__ or '').partition('`')[2].partition('`')[0]}"


@hookimpl
def framework_commands() -> Iterable[Component]:
    """Register the core's commands."""
    yield Component("plugins", PluginsCommandConfig, "framework.cli.commands.plugins:PluginsCommand")
    yield Component("rerun", RerunCommandConfig, "framework.cli.commands.rerun:RerunCommand")
    yield Component("resume", ResumeCommandConfig, "framework.cli.commands.resume:ResumeCommand")
    yield Component("diff", DiffCommandConfig, "framework.cli.commands.diff:DiffCommand")
    yield Component("chat", ChatCommandConfig, "framework.cli.commands.chat:ChatCommand")
    yield Component("doctor", DoctorCommandConfig, "framework.cli.commands.doctor:DoctorCommand")
    yield Component("reference", ReferenceCommandConfig, "framework.cli.commands.reference:ReferenceCommand")
    yield Component("plan-table", PlanTableCommandConfig, "framework.cli.commands.plan_table:PlanTableCommand")
