"""The tokenizer of a base model, with the chat template that the run is to use."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api.training import ModelConfig, ModelPlace, TextForm
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.lib.chat_templates import CHAT_TEMPLATES, ChatTemplate, read_chat_template
from framework_plugins.lib.model_settings import MAX_STOP_TOKENS, read_settings

TEMPLATE, TEMPLATES = "chat_template.jinja", "additional_chat_templates"
GENERATION_FILE, TOKENIZER_FILE, SPECIAL_TOKENS_FILE = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def tokenizer_place(base: ModelPlace, checkpoint: Path | None) -> ModelPlace:
    """Return the place of the tokenizer: with trained weights from elsewhere, if they have one, else with the base."""
    if checkpoint and (checkpoint / "tokenizer.json").is_file():
        return ModelPlace(checkpoint, str(checkpoint))
    return base


def load_tokenizer(location: ModelPlace, config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises:
        FrameworkError: it cannot be read, is not a fast one, or has no chat template.
    """
    subject, fix = f"model {location.name}: the tokenizer", f"restore tokenizer.json and {TOKENIZER_FILE}"
    for file in (location.folder / name for name in (TOKENIZER_FILE, SPECIAL_TOKENS_FILE)):
        if file.is_file():
            read_settings(file, f"model {location.name}")
    for file in (location.folder / TEMPLATE, *sorted((location.folder / TEMPLATES).glob("*.jinja"))):
        if file.is_file():
            with refusing_errors(f"model {location.name}: {file.name} cannot be read", "save it as UTF-8"):
                file.read_text(encoding="utf-8")
    with refusing_errors(f"{subject} cannot be read", fix, code=subject):
        tokenizer = AutoTokenizer.from_pretrained(location.folder, trust_remote_code=config.trust_remote_code)
    if not tokenizer.is_fast:
        raise FrameworkError(
            f"model {location.name}: the tokenizer has no tokenizer.json, and masking needs its offsets"
        )
    if tokenizer.eos_token == "":
        raise FrameworkError(f"{subject} has an empty eos_token, which ends no answer: {fix}")
    if dropout := getattr(tokenizer.backend_tokenizer.model, "dropout", None):  # of BPE
        raise FrameworkError(
            f"{subject} drops merges at random: tokenizer.json has dropout={dropout}: set it to null, or rows and "
            "prompts become other tokens each time"
        )
    with refusing_errors(f"{subject} cannot tokenize", fix):
        tokenizer(string.printable, add_special_tokens=False)
    set_template(tokenizer, config.chat_template, location)
    return tokenizer


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], *, allow_existing: bool) -> list[int]:
    """Add tokens to a tokenizer, and return their ids.

    Args:
        tokenizer: it is changed.
        tokens: their texts.
        allow_existing: whether it may have them already, since an earlier training has added them.

    Raises:
        FrameworkError: it has one of them.
    """
    vocabulary = tokenizer.get_vocab()
    for token in tokens:
        if token in vocabulary and not allow_existing:
            raise FrameworkError(
                f"model.new_tokens: the tokenizer has the token {token} already, with the id {vocabulary[token]}: "
                f"leave it out; to train its row, set adapter.args.trainable_token_indices=[{vocabulary[token]}]"
            )
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens if token not in vocabulary])
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(tokens))
    return ids


def stop_ids(location: ModelPlace, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the token ids that end an answer: the tokenizer's and those of generation_config.json.

    Raises:
        FrameworkError: there are none, too many, or generation_config.json cannot be read.
    """
    listed: Any = None
    if (location.folder / GENERATION_FILE).is_file():
        with refusing_errors(f"model {location.name}: {GENERATION_FILE} cannot be read", "restore it, or remove it"):
            listed = GenerationConfig.from_pretrained(location.folder).eos_token_id
    ids = listed if isinstance(listed, list) else [] if listed is None else [listed]
    if any(type(token_id) is not int or token_id < 0 for token_id in ids) or len(ids) > MAX_STOP_TOKENS:
        content = f"{len(ids)} entries" if len(ids) > 1 else repr(listed)
        raise FrameworkError(
            f"model {location.name}: {GENERATION_FILE}: eos_token_id holds {content}, and must be the number of a "
            f"token, or a list of at most {MAX_STOP_TOKENS}"
        )
    stops = frozenset([*ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])])
    if not stops:
        raise FrameworkError(
            f"model {location.name}: neither {TOKENIZER_FILE} (eos_token) nor {GENERATION_FILE} (eos_token_id) names a "
            "token that ends an answer: restore it, or an answer never ends"
        )
    return stops


def check_token_ids(location: ModelPlace, tokenizer: PreTrainedTokenizerBase, stops: frozenset[int], rows: int) -> None:
    """Refuse tokens of the conversation's form that the model does not have.

    Args:
        location: the folder of both.
        tokenizer: adds a token that its vocabulary lacks at the end, whatever the model has.
        stops: the tokens that end an answer.
        rows: of the model's embedding.

    Raises:
        FrameworkError: a token that begins, ends or pads is none of the model's.
    """
    for token_id in sorted(stops | {tokenizer.pad_token_id, tokenizer.bos_token_id or 0}):
        if token_id >= rows:
            token = tokenizer.convert_ids_to_tokens(token_id) if token_id < len(tokenizer) else None
            raise FrameworkError(
                f"model {location.name}: the token {token_id}{f' ({token})' if token else ''} begins, ends or pads a "
                f"row, and the model has {rows} tokens: restore {TOKENIZER_FILE} and {GENERATION_FILE}"
            )


def set_padding(tokenizer: PreTrainedTokenizerBase, stops: frozenset[int]) -> None:
    """Set a token that ends an answer as the padding if the tokenizer has none; it is masked everywhere."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(stops))


def set_template(tokenizer: PreTrainedTokenizerBase, value: str | None, location: ModelPlace) -> None:
    """Take the chat template that `model.chat_template` names, or make sure that the tokenizer, of `location`, has one.

    Raises:
        FrameworkError: there is none, or it writes tokens that the tokenizer lacks.
    """
    if value is not None:
        template = read_chat_template(value)
        if absent := _missing_tokens(tokenizer, template):
            fitting = fitting_templates(tokenizer)
            raise FrameworkError(
                f"model.chat_template={value} writes {', '.join(absent)}, and the tokenizer has no such token: "
                f"of the templates by name, {', '.join(fitting) or 'none'} would work"
            )
        tokenizer.chat_template = template.text
        if template.stop:
            tokenizer.eos_token = template.stop
    if not isinstance(tokenizer.chat_template or "", str | dict):
        raise FrameworkError(
            f"model {location.name}: {TOKENIZER_FILE}: chat_template={tokenizer.chat_template!r} is not text: "
            "restore the file"
        )
    if not tokenizer.chat_template:
        raise FrameworkError(
            f"model {location.name}: the tokenizer has no chat template, so it is unknown how this model writes a "
            "conversation: take an instruct model, or give the template to learn, model.chat_template=FILE.jinja, or "
            f"one by name: {', '.join(CHAT_TEMPLATES)}"
        )
    # Without its settings a tokenizer has no such token, and a template writes nothing in its place.
    unset = [name for name in ("bos_token", "eos_token") if getattr(tokenizer, name) is None]
    lost = [name for name in unset if name in str(tokenizer.chat_template)]
    if lost and not any((location.folder / file).is_file() for file in (TOKENIZER_FILE, SPECIAL_TOKENS_FILE)):
        raise FrameworkError(
            f"model {location.name}: the chat template writes {' and '.join(lost)}, and no file says which token that "
            f"is: restore {TOKENIZER_FILE}"
        )


def fitting_templates(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the chat templates by name whose tokens a tokenizer has."""
    return [name for name, template in CHAT_TEMPLATES.items() if not _missing_tokens(tokenizer, template)]


def _missing_tokens(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> list[str]:
    """Return the tokens that a template needs and the tokenizer lacks, its own stop token included."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    stopless = not template.stop and "eos_token" in template.text and tokenizer.eos_token is None
    return [token for token in template.tokens if token not in added] + (["an eos_token"] if stopless else [])


def text_form(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> TextForm:
    """Return the form in which a model reads plain text, by its tokenizer and its config.json."""
    ids, plain_ids = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    begin = ids[: ids.index(plain_ids[0])]
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    named = (getattr(config.get_text_config(), name, None) for name in ("max_position_embeddings", "n_positions"))
    longest = next((length for length in named if length), tokenizer.model_max_length)
    return TextForm(tuple(begin), prefix, longest)
