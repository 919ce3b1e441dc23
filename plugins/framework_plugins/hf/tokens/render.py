"""Conversations -> text, by the tokenizer's own chat template, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api import redact, summarize_error
from framework_plugins.hf.tokens.message_check import OTHER_TEMPLATE, Remedied
from framework_plugins.hf.tokens.template_limits import COMPILE, TOOL

Turns = list[dict[str, Any]]
SHOWN_ROLES = 6
RENAMED_FIELD = "reasoning_content"
"""A field that transformers (5.24) also hands over by the names that other templates read."""


@dataclass(frozen=True, slots=True)
class Job:
    """Input of a rendering: turns, the available tools, and whether the assistant's next turn is opened (`prompt`)."""

    turns: Turns
    tools: Sequence[Mapping[str, Any]]
    prompt: bool


def _tools(job: Job) -> list[dict[str, Any]] | None:
    return [dict(tool) for tool in job.tools] or None


class Renderer:
    """Renders by a tokenizer's chat template.

    Args:
        tokenizer: has a chat template, one or several by name.
        settings: switches of the template, `model.chat_template_kwargs`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.settings = settings

    def text(self, job: Job) -> str:
        """Render one conversation.

        Raises:
            FrameworkError: the template refuses it.
        """
        try:
            return self._apply_chat_template(job)
        except Exception as error:  # a template is a program of its own, and may fail in any way
            raise FrameworkError(self._refusal(job, error)) from error

    def make_render(self) -> Callable[[Job], str | FrameworkError]:
        """Return a function that renders a job; it returns the error instead of a text if the template refuses it."""
        shortcuts: dict[tuple[bool, str], Callable[[Job], str] | None] = {}

        def render(job: Job) -> str | FrameworkError:
            try:
                return self._render(job, shortcuts)
            except Exception:  # noqa: BLE001 - a template may fail in any way: `text` says how
                return self._text_or_error(job)

        return render

    def _render(self, job: Job, shortcuts: dict[tuple[bool, str], Callable[[Job], str] | None]) -> str:
        """Render, by the shortcut if there is one for conversations with these tools and this `prompt`."""
        kind = (job.prompt, repr(job.tools) if job.tools else "")
        if shortcut := shortcuts.get(kind):
            return shortcut(job)
        text = self._apply_chat_template(job)
        # A short way is worth its making from the second conversation on.
        shortcuts[kind] = self._shortcut(job, text) if kind in shortcuts else None
        return text

    def _text_or_error(self, job: Job) -> str | FrameworkError:
        try:
            return self.text(job)
        except FrameworkError as error:
            return error

    def _shortcut(self, job: Job, text: str) -> Callable[[Job], str]:
        """Return a function that renders conversations such as `job`, whose text is known.

        The public way copies and checks each message, which costs as much as rendering. Only the template is used
        if it comes to the same.
        """
        if COMPILE is not None:
            fast = self._compile_template(COMPILE, job)
            if fast(job) == text:
                return fast
        return self._apply_chat_template

    def _apply_chat_template(self, job: Job) -> str:
        text: str = self.tokenizer.apply_chat_template(
            job.turns,
            tools=_tools(job),
            tokenize=False,
            add_generation_prompt=job.prompt,
            **self.settings,
        )
        return text

    def _compile_template(self, compiled: Callable[[str], Any], example: Job) -> Callable[[Job], str]:
        """Return a function that renders conversations such as `example` by the bare template."""
        tools = _tools(example)
        template = compiled(self.tokenizer.get_chat_template(tools=tools))
        words = {**template.globals, **self.tokenizer.special_tokens_map, **self.settings}
        words |= {"tools": tools, "documents": None, "add_generation_prompt": example.prompt}

        def fast(job: Job) -> str:
            if any(RENAMED_FIELD in turn for turn in job.turns):
                return self._apply_chat_template(job)
            context = template.new_context({**words, "messages": job.turns}, shared=True)
            return "".join(template.root_render_func(context))

        return fast

    def _refusal(self, job: Job, error: Exception) -> str:
        names = [str(turn["role"]) for turn in job.turns]
        roles = ", ".join([*names[:SHOWN_ROLES], *(["…"] if len(names) > SHOWN_ROLES else [])])
        reason = str(error) if type(error) is TemplateError else summarize_error(error)
        refusal = str(redact(f"the chat template refuses the turns {roles}: {reason.strip()}"))
        return self._with_advice(refusal, job, rule=type(error) is TemplateError)

    def _with_advice(self, refusal: str, job: Job, *, rule: bool) -> str:
        turns = [turn for turn in job.turns if turn["role"] != "system"]
        if len(turns) < len(job.turns) and turns and self._try_render(Job(turns, job.tools, job.prompt)) is not None:
            fix = "put that text into the first user's turn, or "
            return Remedied(f"{refusal}; it accepts them without the system prompt", OTHER_TEMPLATE, fix)
        if not job.tools and self._try_render(Job(job.turns, [TOOL], job.prompt)) is not None:
            cause = f"{refusal}; it asks for tools in every conversation"
            return Remedied(cause, OTHER_TEMPLATE, "give the row 'tools', or ")
        if self.reads_parts(job):
            cause = f"{refusal}; it reads a turn as a list of parts, as those of vision models do, not as text"
            return Remedied(cause, OTHER_TEMPLATE)
        if rule:
            return f"{refusal}; this is the template's rule"
        return Remedied(f"{refusal}; the template fails by a fault of its own", OTHER_TEMPLATE)

    def reads_parts(self, job: Job) -> bool:
        """Whether a template that loses the users' text writes it if each turn is a list of parts."""
        questions = [str(turn["content"]).strip() for turn in job.turns if turn["role"] == "user"]
        if not questions:
            return False
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in job.turns]
        parts = self._try_render(Job(turns, job.tools, job.prompt))
        if parts is None or not all(question in parts for question in questions):
            return False
        plain = self._try_render(job) or ""
        return not any(question in plain for question in questions)

    def _try_render(self, job: Job) -> str | None:
        try:
            return self._apply_chat_template(job)
        except Exception:  # noqa: BLE001 - whatever it is, it does not render
            return None
