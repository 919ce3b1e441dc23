"""`python -m framework chat RUN_DIR`: talk to the model of a run, before and after its training, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from rich.console import Console

from framework.api.commands import read_run
from framework.api.run_folder import SavedRun
from framework.api.text import display_path
from framework_plugins.chat import piped, terminal
from framework_plugins.chat.config import ChatCommandConfig
from framework_plugins.chat.offered import offered
from framework_plugins.chat.options import Options, read_options
from framework_plugins.chat.session import TUNED, ChatSession, Speakers
from framework_plugins.chat.trained import trained


class ChatCommand:
    """Talks to a run's model, in a terminal or through pipes."""

    def __init__(self, config: ChatCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Open the model, and answer until the prompts end."""
        options = read_options(arguments)
        run = read_run(options.run_dir)
        path, console = display_path(run.folder), Console(highlight=False)
        typed = sys.stdin.isatty() and sys.stdout.isatty() and not options.as_json
        with ExitStack() as stack:
            with console.status("loading the model …") if typed else nullcontext():
                speakers = stack.enter_context(_speakers(run, options))
            session = ChatSession(
                speakers, _first(speakers, options, typed=typed), _system(run, options), options.sampling
            )
            if typed:
                terminal.converse(session, console, f"{path}: {_heading(session)}\n/help lists the commands")
            else:
                piped.converse(session, sys.stdin, as_json=options.as_json)
        return 0


def _speakers(run: SavedRun, options: Options) -> AbstractContextManager[Speakers]:
    if options.speaker:
        return offered(options.speaker, run, options.word)
    return trained(run, options.overrides)


def _first(speakers: Speakers, options: Options, *, typed: bool) -> tuple[str, ...]:
    """Return who answers at first: in a terminal everyone, for a script the trained model alone."""
    everyone = tuple(speakers.available)
    return options.talking or (everyone if typed or TUNED not in everyone else (TUNED,))


def _system(run: SavedRun, options: Options) -> str | None:
    """Return the system prompt: the one that is given, else that with which the run was trained."""
    trained_with: str | None = run.config.get("format", {}).get("system_prompt")
    return trained_with if options.system is None else options.system


def _heading(session: ChatSession) -> str:
    return session.who() + (f"; system prompt: {session.system}" if session.system else "")
