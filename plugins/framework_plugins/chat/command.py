"""`python -m framework chat RUN_DIR`: talk to the model of a run, before and after its training, side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from rich.console import Console

from framework.api import HIDDEN, ExportResult, SavedRun, display_path, display_run
from framework.api.program import newest_run, read_run, this_program
from framework_plugins.chat import piped, terminal
from framework_plugins.chat.asked import common_beginning
from framework_plugins.chat.config import ChatCommandConfig
from framework_plugins.chat.offered import open_plugin_speaker
from framework_plugins.chat.options import Options, read_options
from framework_plugins.chat.session import TUNED, Beginning, ChatSession, Speakers
from framework_plugins.chat.trained import open_run_speakers

SYSTEM_PROMPT_NOT_SAVED = (
    "the system prompt of the training holds a secret and was not saved: give it with --system TEXT"
)
LOADING = "loading the model …"
GGUF = "gguf"
"""The kind of the artifacts that `--gguf` opens, if its plugin is installed."""


class ChatCommand:
    """Talks to a run's model, in a terminal or through pipes."""

    def __init__(self, config: ChatCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Open the model, and answer until the prompts end."""
        options = read_options(arguments)
        exports = options.speaker is not None
        run = read_run(newest_run(Path("outputs")) if options.run_dir is None else options.run_dir, whole=exports)
        path, console = display_run(run.folder), Console(highlight=False)
        after = list(_next_commands(run, options))  # now: opening a run goes into the folder where it was started
        typed = sys.stdin.isatty() and sys.stdout.isatty() and not options.as_json
        if not typed:
            chosen = "" if options.run_dir else f"the newest run: {path}, "
            piped.print_notice(f"{chosen}{LOADING}")
        with ExitStack() as stack:
            with console.status(LOADING) if typed else nullcontext():
                speakers = stack.enter_context(_speakers(run, options))
            session = ChatSession(
                speakers,
                _first_speakers(speakers, options, typed=typed),
                _system(run, options),
                options.sampling,
                Beginning(common_beginning(run), is_on=options.begin),
            )
            if typed:
                terminal.converse(session, console, f"{path}: {_greeting(session)}")
                for line in after:
                    console.print(line, markup=False, soft_wrap=True)
            else:
                piped.print_notice(session.beginning.offer() if session.beginning.text else "")
                piped.converse(session, sys.stdin, as_json=options.as_json)
        return 0


def _speakers(run: SavedRun, options: Options) -> AbstractContextManager[Speakers]:
    if options.speaker:
        return open_plugin_speaker(options.speaker, run, options.word)
    return open_run_speakers(run, options.overrides)


def _first_speakers(speakers: Speakers, options: Options, *, typed: bool) -> tuple[str, ...]:
    """Return who answers at first: everyone in a terminal, only the trained model in a script."""
    everyone = tuple(speakers.available)
    return options.talking or (everyone if typed or TUNED not in everyone else (TUNED,))


def _system(run: SavedRun, options: Options) -> str | None:
    """Return the system prompt: the one that is given, else that with which the run was trained."""
    if options.system is not None:
        return options.system
    trained_with = run.system_prompt()
    if HIDDEN in trained_with:  # a run saves no secret
        piped.print_notice(SYSTEM_PROMPT_NOT_SAVED)
        return None
    return trained_with or None


def _greeting(session: ChatSession) -> str:
    lines = [session.who() + (f"; system prompt: {session.system}" if session.system else "")]
    if session.beginning.text:
        lines.append(session.beginning.offer())
    return "\n".join([*lines, "/help lists the commands; Ctrl-C stops an answer"])


def _next_commands(run: SavedRun, options: Options) -> Iterator[str]:
    """Yield the commands for the model of a run after a chat, one per line."""
    exported = run.record(ExportResult, "export.json")
    artifacts = exported.artifacts if exported else []
    folder = shlex.quote(display_run(run.folder))
    if options.speaker is None and any(artifact.kind == GGUF for artifact in artifacts):
        yield f"the exported file: {this_program()} chat {folder} --{GGUF}"
    for artifact in artifacts:
        if artifact.use:
            path = shlex.quote(display_path(run.folder / artifact.path))
            yield f"with {artifact.kind}: {artifact.use.format(path=path)}"
    if not artifacts:
        yield f"export it: {this_program()} run_dir={folder} stages=[export]"
