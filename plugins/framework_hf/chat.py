"""Conversations -> token rows, by the tokenizer's own chat template, with labels on the assistants' turns only.

Templates with and without generation markers are treated alike: the text of the whole conversation is rendered once,
and for each assistant's turn the prompt that inference would use. The prompt's tokens must be the first tokens of the
whole, so what is learned is exactly what will be generated: from the end of the prompt up to the turn's stop token.
A conversation for which that does not hold is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from framework.errors import FrameworkError, one_line
from framework.records import Example, Message, TokenRow

IGNORE = -100


def set_template(tokenizer: PreTrainedTokenizerBase, file: str | None) -> None:
    """Take the chat template from `file`, or make sure that the tokenizer has one.

    Raises:
        FrameworkError: there is none.
    """
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).read_text(encoding="utf-8")
        except OSError as error:
            message = f"model.chat_template={file}: {error.strerror}"
            raise FrameworkError(message) from error
    if not tokenizer.chat_template:
        message = (
            "the tokenizer has no chat template, so nobody can know how this model writes a conversation: give the "
            "one it was trained with, model.chat_template=FILE.jinja, or take an instruct model"
        )
        raise FrameworkError(message)


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool) -> str:
    """Render by the chat template; `prompt` opens the assistant's next turn.

    Raises:
        FrameworkError: the template refuses the conversation.
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt))
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        message = f"the chat template refuses the turns {roles}: {one_line(error)}"
        raise FrameworkError(message) from error


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], stop_ids: frozenset[int]) -> list[TokenRow]:
    """Tokenize and label conversations.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        examples: conversations.
        stop_ids: the token ids that end generation; each assistant's turn must end with one of them.

    Raises:
        FrameworkError: names the first conversation that cannot be masked exactly, and why.
    """
    texts: list[str] = []
    prompts: list[list[str]] = []
    for example in examples:
        try:
            texts.append(render(tokenizer, example.messages, prompt=False))
            prompts.append(
                [
                    render(tokenizer, example.messages[:number], prompt=True)
                    for number, message in enumerate(example.messages)
                    if message.role == "assistant"
                ]
            )
        except FrameworkError as error:
            raise _named(example, str(error)) from error
    whole = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    starts = iter(tokenizer([text for turns in prompts for text in turns], add_special_tokens=False)["input_ids"])
    rows = []
    for number, example in enumerate(examples):
        ids, offsets = whole["input_ids"][number], whole["offset_mapping"][number]
        turns = [(text, next(starts)) for text in prompts[number]]
        try:
            _check_bos(ids, tokenizer)
            labels = _labels(example, texts[number], ids, offsets, turns, stop_ids)
        except FrameworkError as error:
            raise _named(example, str(error)) from error
        rows.append(TokenRow(ids, labels, example.where))
    return rows


def _named(example: Example, problem: str) -> FrameworkError:
    return FrameworkError(f"{example.where}: {problem}")


def _check_bos(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> None:
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        message = f"the chat template writes {tokenizer.bos_token} twice at the start"
        raise FrameworkError(message)


def _labels(
    example: Example,
    text: str,
    ids: list[int],
    offsets: list[tuple[int, int]],
    turns: list[tuple[str, list[int]]],
    stop_ids: frozenset[int],
) -> list[int]:
    """Label each assistant's turn from the end of its prompt up to its stop token; `turns` are prompt text and ids."""
    labels = [IGNORE] * len(ids)
    answers = [message.content.strip() for message in example.messages if message.role == "assistant"]
    limits = [len(prompt_ids) for _, prompt_ids in turns[1:]] + [len(ids)]
    for (prompt, prompt_ids), answer, limit in zip(turns, answers, limits, strict=True):
        first = len(prompt_ids)
        if not text.startswith(prompt) or ids[:first] != prompt_ids:
            message = (
                "the prompt that inference would use is not the beginning of the training text, so training would "
                "teach something else: take another chat template, model.chat_template=FILE.jinja, or strip the "
                "white space before the answer"
            )
            raise FrameworkError(message)
        position = text.find(answer, len(prompt))
        if position < 0 or not answer:
            message = f"the chat template drops or changes an assistant's turn ({answer[:40]!r})"
            raise FrameworkError(message)
        end = position + len(answer)
        stop = next((n for n in range(first, limit) if offsets[n][0] >= end and ids[n] in stop_ids), None)
        if stop is None:
            message = (
                "the chat template ends an assistant's turn without a stop token, so the model would never learn to "
                "stop: the template must write the tokenizer's eos_token after each answer"
            )
            raise FrameworkError(message)
        labels[first : stop + 1] = ids[first : stop + 1]
    return labels
