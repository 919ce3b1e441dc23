"""`format=prompt_completion`: prompt and completion, each as text or as messages."""

from __future__ import annotations

from framework.api import Example, Message
from framework_plugins.formats.formats import tools, turns
from framework_plugins.formats.formats.turns import marked_messages
from framework_plugins.formats.formats.values import Fields, Format, is_labelled, label_facts, system, text


class PromptCompletion(Format):
    """prompt and completion."""

    name = "prompt_completion"

    def matches(self, fields: Fields) -> bool:
        """Has prompt and completion, and no label."""
        has_both = fields.get("prompt") is not None and fields.get("completion") is not None
        return has_both and not is_labelled(fields)

    def read(self, fields: Fields) -> Example:
        """Return the conversation: text becomes a user's and an assistant's turn. Only the completion is learned."""
        prompt = read_turns(fields, "prompt", "user")
        answer = _continued_turns(fields) or read_turns(fields, "completion", "assistant")
        before = () if prompt[0].role == "system" else system(fields)
        messages = (*before, *turns.as_context(prompt), *answer)
        return Example(messages, self.name, tools=tools.read_schemas(fields), facts=label_facts(fields))


def read_turns(fields: Fields, name: str, role: str) -> tuple[Message, ...]:
    """Return the turns in a field, at least one; text is one turn of `role`, unless it holds turns as JSON.

    Raises:
        FrameworkError: it is missing, or neither text nor turns.
    """
    value = turns.unpacked_turns(fields, name)
    if isinstance(value, list) and value:
        return turns.read(value, name, turns.any_turn)
    content = text(fields, name)
    return (marked_messages(content) if role == "user" else ()) or (Message(role, content),)


def _continued_turns(fields: Fields) -> tuple[Message, ...]:
    """Return the turns of a completion that continues a prompt in the old form of Anthropic, which opens the answer."""
    prompt, completion = fields.get("prompt"), fields.get("completion")
    if not isinstance(prompt, str) or not isinstance(completion, str) or not (prompt_turns := marked_messages(prompt)):
        return ()
    opened = prompt if prompt.rstrip().endswith("\n\nAssistant:") else f"{prompt}\n\nAssistant:"
    return marked_messages(f"{opened.rstrip()} {completion.lstrip(' ')}")[len(prompt_turns) :]
