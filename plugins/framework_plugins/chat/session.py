"""The conversation: the speakers, their histories, and the slash commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from framework import FrameworkError
from framework.api import unknown
from framework.api.program import Speaker
from framework_plugins.chat.history import FittedPrompt, History
from framework_plugins.chat.options import Sampling

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters except tab and newline: a terminal obeys them, so text from elsewhere must not print them."""
BASE, TUNED = "base", "tuned"
HELP = {
    "/base": "the base model answers",
    "/tuned": "the trained model answers",
    "/both": "both answer, side by side",
    "/reset": "forget the conversation",
    "/begin": "switch on or off: the lines that all prompts of the run begin with are put before each prompt",
    "/system TEXT": "set the system prompt; without a text there is none",
    "/help": "this list",
    "/quit": "quit; so does Ctrl-D",
}
QUOTE = '"""'
MAX_BEGINNING_CHARS = 60
"""Characters of what all prompts begin with."""
MULTILINE_HELP = f"Put a prompt of several lines between {QUOTE} and {QUOTE}; to begin a prompt with /, type //."


@dataclass(frozen=True)
class Speakers:
    """Who can answer, in the order in which they do, and for who cannot the reason."""

    available: Mapping[str, Speaker]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An answer that is made while its pieces are read. `notice` says what was forgotten; empty if nothing was."""

    speaker: str
    prompt: str
    dropped: int
    notice: str
    pieces: Generator[str]


@dataclass
class Beginning:
    """The lines that all prompts of the run begin with: the model has seen no other ones in its training.

    Attributes:
        text: the lines; empty if the prompts have none in common.
        is_on: whether they are put before what is asked.
    """

    text: str = ""
    is_on: bool = False

    def offer(self) -> str:
        """Say what they are, and what happens to them."""
        first_line, *further_lines = self.text.strip().splitlines()
        shown = (
            f"{first_line[:MAX_BEGINNING_CHARS]}…"
            if further_lines or len(first_line) > MAX_BEGINNING_CHARS
            else first_line
        )
        if self.is_on:
            return f'"{shown}" is put before each prompt, as in the run; /begin switches this off'
        return f'all prompts of the run begin with "{shown}"; /begin puts this before each prompt'

    def before(self, prompt: str) -> str:
        """Return the prompt as it is asked."""
        return self.text + prompt if self.is_on and not prompt.startswith(self.text) else prompt


class ChatSession:
    """A conversation with one speaker or several; each remembers what it was asked and has answered itself.

    Args:
        speakers: who can answer.
        talking: who does at first.
        system: the system prompt.
        sampling: how tokens are chosen.
        beginning: what the prompts of the run begin with.
    """

    def __init__(
        self,
        speakers: Speakers,
        talking: tuple[str, ...],
        system: str | None,
        sampling: Sampling,
        beginning: Beginning | None = None,
    ) -> None:
        self.speakers = speakers
        self.beginning = beginning or Beginning()
        self.system = system
        self.sampling = sampling
        self.over = False
        self.talking: tuple[str, ...] = ()
        self._histories = {name: History() for name in speakers.available}
        self.set_speakers(talking)

    def set_speakers(self, names: tuple[str, ...]) -> None:
        """Let these answer from now on.

        Raises:
            FrameworkError: one of them is not here; nothing changes then.
        """
        for name in names:
            if name not in self.speakers.available:
                raise FrameworkError(self.speakers.absent[name])
        self.talking = names

    def ask(self, prompt: str) -> list[Reply]:
        """Ask everyone whose turn it is. Read the pieces of each answer, or close them: what was said is remembered.

        Raises:
            FrameworkError: the prompt is too long, or the chat template refuses the conversation.
        """
        return [self._reply(name, self.beginning.before(prompt)) for name in self.talking]

    def _reply(self, name: str, prompt: str) -> Reply:
        speaker, history = self.speakers.available[name], self._histories[name]
        request = history.ask(speaker, self.system, prompt, self.sampling.max_new_tokens)
        notice = _dropped_notice(name, request.dropped) if request.dropped else ""
        return Reply(name, prompt, request.dropped, notice, self._pieces(speaker, history, prompt, request))

    def _pieces(self, speaker: Speaker, history: History, prompt: str, request: FittedPrompt) -> Generator[str]:
        pieces, complete = [], False
        try:
            for piece in speaker.stream(
                request.prompt,
                max_new_tokens=request.max_new_tokens,
                temperature=self.sampling.temperature,
                top_p=self.sampling.top_p,
                seed=self.sampling.seed,
            ):
                pieces.append(piece)
                yield piece
            complete = True
        finally:
            if complete or any(pieces):
                history.keep(prompt, "".join(pieces))

    def run_command(self, line: str) -> str:
        """Do what a line that begins with a slash says, and return what to tell.

        Raises:
            FrameworkError: there is no such word, or nobody of that name.
        """
        word, _, text = line.partition(" ")
        commands: dict[str, Callable[[str], str]] = {
            "/base": lambda _: self._hand_over(BASE),
            "/tuned": lambda _: self._hand_over(TUNED),
            "/both": lambda _: self._hand_over(BASE, TUNED),
            "/reset": self._reset,
            "/system": self._set_system,
            "/begin": self._begin,
            "/help": lambda _: help_text(),
            "/quit": self._quit,
        }
        if word not in commands:
            raise FrameworkError(f"{unknown('command', word, commands)} {MULTILINE_HELP}")
        return commands[word](text.strip())

    def _hand_over(self, *names: str) -> str:
        self.set_speakers(names)
        return self.who()

    def who(self) -> str:
        """Say who answers."""
        return f"{' and '.join(self.talking)} {'answer' if len(self.talking) > 1 else 'answers'}"

    def _reset(self, _: str) -> str:
        self._histories = {name: History() for name in self.speakers.available}
        return "the conversation is forgotten"

    def _set_system(self, text: str) -> str:
        self.system = text or None
        return "the system prompt is set" if text else "there is no system prompt"

    def _begin(self, _: str) -> str:
        if not self.beginning.text:
            return "the prompts of the run have no first lines in common"
        self.beginning.is_on = not self.beginning.is_on
        return self.beginning.offer()

    def _quit(self, _: str) -> str:
        self.over = True
        return ""


def help_text() -> str:
    """Return what the words that begin with a slash do."""
    width = max(map(len, HELP))
    return "\n".join([*(f"{word:{width}}  {description}" for word, description in HELP.items()), MULTILINE_HELP])


def _dropped_notice(name: str, count: int) -> str:
    subject = (
        "the oldest question with its answer is" if count == 1 else f"the {count} oldest questions with answers are"
    )
    return f"the conversation is longer than {name} reads: {subject} forgotten"


def is_command(line: str) -> bool:
    """Whether a line is a word of ours; a prompt that begins with a slash is written with two."""
    return line.startswith("/") and not line.startswith("//")


def prompt_of(line: str, next_line: Callable[[], str]) -> str:
    """Return the prompt that a line begins; `next_line` gives further lines of one between quotes.

    If there are no more, by EOFError or StopIteration, that is taken for the closing quotes.
    """
    if line.startswith("//"):
        return line[1:]
    if not line.startswith(QUOTE):
        return line
    lines = [line.removeprefix(QUOTE)]
    while not lines[-1].endswith(QUOTE):
        try:
            lines.append(next_line())
        except (EOFError, StopIteration):
            return "\n".join(lines)
    return "\n".join(lines).removesuffix(QUOTE)
