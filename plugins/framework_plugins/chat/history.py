"""The conversation of one speaker, cut to its context."""

from __future__ import annotations

from typing import NamedTuple

from framework import FrameworkError
from framework.api import Message, Prompt
from framework.api.program import Speaker


class FittedPrompt(NamedTuple):
    """A prompt with the conversation before it, the tokens that its answer may have, and what was forgotten for it."""

    prompt: Prompt
    max_new_tokens: int
    dropped: int


class History:
    """Questions with their answers, in their order."""

    def __init__(self) -> None:
        self.turns: list[tuple[Message, Message]] = []

    def keep(self, question: str, answer: str) -> None:
        """Remember a question and what was answered."""
        self.turns.append((Message("user", question), Message("assistant", answer)))

    def ask(self, speaker: Speaker, system: str | None, question: str, max_new_tokens: int) -> FittedPrompt:
        """Return a question with all that came before it; the oldest turns are forgotten if that is too long.

        Half of the speaker's context, or `max_new_tokens` if that is less, stays free for the answer.

        Raises:
            FrameworkError: the question alone is longer than the context; nothing is forgotten then.
        """
        turns, prompt = self.turns, self._prompt(self.turns, system, question)
        if speaker.context is None:
            return FittedPrompt(prompt, max_new_tokens, 0)
        limit = speaker.context - min(max_new_tokens, speaker.context // 2)
        while (length := speaker.count(prompt)) > limit and turns:
            turns = turns[1:]
            prompt = self._prompt(turns, system, question)
        if length >= speaker.context:
            raise FrameworkError(
                f"this prompt has {length} tokens, but {speaker.name} reads {speaker.context} with "
                "the answer: shorten it"
            )
        dropped, self.turns = len(self.turns) - len(turns), turns
        return FittedPrompt(prompt, min(max_new_tokens, speaker.context - length), dropped)

    @staticmethod
    def _prompt(turns: list[tuple[Message, Message]], system: str | None, question: str) -> Prompt:
        system_turn = (Message("system", system),) if system else ()
        return Prompt((*system_turn, *(turn for pair in turns for turn in pair), Message("user", question)))
