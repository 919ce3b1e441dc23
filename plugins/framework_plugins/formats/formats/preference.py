"""`format=preference`: a chosen and a rejected answer. Supervised training learns the chosen one."""

from __future__ import annotations

from framework import FrameworkError
from framework.api import Example, Message
from framework_plugins.formats.formats import alpaca, pairs, tools, turns
from framework_plugins.formats.formats.names import PREFERENCE_QUESTION, SHAREGPT_FIELDS
from framework_plugins.formats.formats.prompt_completion import read_turns
from framework_plugins.formats.formats.values import Fields, Format, is_object, missing, short_repr, system, text

QUESTIONS = (*SHAREGPT_FIELDS[:2], *PREFERENCE_QUESTION)
"""What may ask beside the answers, if neither a prompt nor an instruction does."""
Messages = tuple[Message, ...]


class Preference(Format):
    """chosen and rejected, with the question beside them or in both."""

    name = "preference"

    def matches(self, fields: Fields) -> bool:
        """Has chosen and rejected, or two answers or more of which a label, ranks or scores name the best."""
        return pairs.has_pair(fields)

    def read(self, fields: Fields) -> Example:
        """Return question and chosen answer as the conversation, with the turns in which the rejected one differs."""
        fields, facts = pairs.as_pair(fields)
        question = _question(fields)
        chosen, rejected = (_conversation(fields, name, question) for name in ("chosen", "rejected"))
        prefix_length = _count_common_turns(chosen, rejected)
        if not chosen[prefix_length].role == rejected[prefix_length].role == rejected[-1].role == "assistant":
            raise FrameworkError(
                "needs two answers to one question: 'chosen' and 'rejected' differ before the assistant's turn"
            )
        learned = (*turns.as_context(chosen[:prefix_length]), *chosen[prefix_length:])
        return Example(
            learned, self.name, tools=tools.read_schemas(fields), rejected=rejected[prefix_length:], facts=facts
        )


def _count_common_turns(chosen: Messages, rejected: Messages) -> int:
    """Count the turns that both begin with, at most all but the last of each."""
    # The last turns are the answers, even if they are equal.
    turn_pairs = list(zip(chosen, rejected, strict=False))[: min(len(chosen), len(rejected)) - 1]
    return next(
        (index for index, (chosen_turn, rejected_turn) in enumerate(turn_pairs) if chosen_turn != rejected_turn),
        len(turn_pairs),
    )


def _question(fields: Fields) -> Messages:
    """Return the turns of the question in fields of their own; empty if the answers hold them."""
    if fields.get("prompt") is not None:
        question = read_turns(fields, "prompt", "user")
    elif fields.get("instruction") is not None:
        return alpaca.question(fields)
    elif name := next((name for name in SHAREGPT_FIELDS[:2] if turns.first_turn(fields, name)), None):
        question = turns.read(turns.unpacked(fields[name]), name, turns.any_turn)
    elif name := next((name for name in PREFERENCE_QUESTION if fields.get(name) is not None), None):
        question = read_turns(fields, name, "user")
    else:
        question = ()
    return question if question and question[0].role == "system" else (*system(fields), *question)


def _conversation(fields: Fields, name: str, question: Messages) -> Messages:
    """Return the question and one of the answers.

    Raises:
        FrameworkError: there is no question, or another one than beside the answers.
    """
    value = turns.unpacked_turns(fields, name)
    if isinstance(value, str):
        answer = turns.marked_messages(value) or (Message("assistant", value),)
    elif (isinstance(value, list) and value) or is_object(value):
        answer = turns.read(value if isinstance(value, list) else [value], name, turns.any_turn)
    else:
        answer = (Message("assistant", text(fields, name)),)
    if answer[0].role == "assistant":
        if all(message.role == "system" for message in question):
            raise missing(fields, "prompt")
        return (*question, *answer)
    _check_question(fields, question, answer, name)
    return _add_system(question, answer, name)


def _check_question(fields: Fields, question: Messages, answer: Messages, name: str) -> None:
    """Check that the question is among the turns of the answer.

    Raises:
        FrameworkError: it is not.
    """
    questions = {_words(turn) for turn in answer if turn.role == "user"}
    if any(turn.role == "user" for turn in question) and _words(question[-1]) not in questions:
        source = next(field for field in ("prompt", "instruction", *QUESTIONS) if fields.get(field) is not None)
        raise FrameworkError(
            f"has another question in '{source}' ({short_repr(question[-1].content)}) than in '{name}', and only one "
            f'of both can be learned: repair the row, or leave the field out, "format.columns={{{source}: null}}"'
        )


def _words(turn: Message) -> str:
    return " ".join(turn.content.split())


def _add_system(context: Messages, answer: Messages, name: str) -> Messages:
    """Return an answer that holds its question, after the system prompt of the row if it has none itself."""
    system, answer_system = (tuple(turn for turn in part if turn.role == "system") for part in (context, answer))
    question = tuple(turn for turn in context if turn.role != "system")
    dialogue = tuple(turn for turn in answer if turn.role != "system")
    if len(question) > 1 and dialogue[: len(question)] != question:
        raise FrameworkError(f"needs the turns of the question at the beginning of '{name}', or the answer alone")
    return answer if answer_system else (*system, *answer)
