"""The tokenizer of a base model, with the chat template that the run is to use."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from framework.api.errors import FrameworkError
from framework.api.protocols import ModelPlace
from framework.api.records import TextForm
from framework.api.schema import ModelConfig
from framework.api.text import summarize_error


def load_tokenizer(place: ModelPlace, config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises:
        FrameworkError: it cannot be read, is not a fast one, or has no chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.folder, trust_remote_code=config.trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise FrameworkError(f"model {place.name}: the tokenizer cannot be read: {summarize_error(error)}") from error
    if not tokenizer.is_fast:
        raise FrameworkError(f"model {place.name}: the tokenizer has no tokenizer.json, and masking needs its offsets")
    set_template(tokenizer, config.chat_template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def set_template(tokenizer: PreTrainedTokenizerBase, file: str | None) -> None:
    """Take the chat template from `file`, or make sure that the tokenizer has one.

    Raises:
        FrameworkError: there is none.
    """
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
            raise FrameworkError(f"model.chat_template={file}: {reason}") from error
    if not tokenizer.chat_template:
        raise FrameworkError(
            "the tokenizer has no chat template, so nobody can know how this model writes a conversation: give the "
            "one it was trained with, model.chat_template=FILE.jinja, or take an instruct model"
        )


def text_form(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> TextForm:
    """Return how a model reads plain text, by its tokenizer and its config.json."""
    ids, alone = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    begin = ids[: ids.index(alone[0])]
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    named = (getattr(config.get_text_config(), name, None) for name in ("max_position_embeddings", "n_positions"))
    longest = next((number for number in named if number), tokenizer.model_max_length)
    return TextForm(tuple(begin), prefix, longest)
