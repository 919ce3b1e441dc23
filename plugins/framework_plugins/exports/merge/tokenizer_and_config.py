"""The files beside the weights of a model: its config, the tokenizer with the chat template, the stop tokens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from framework import FrameworkError, Plan
from framework_plugins.exports import chat_template
from framework_plugins.exports.export_folder import (
    GENERATION_CONFIG,
    MODEL_CONFIG,
    RUN_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    read_json,
    write_json,
)
from framework_plugins.lib.chat_templates import read_chat_template
from framework_plugins.lib.links import refuse_links

COPIED_SUFFIXES = frozenset({".json", ".jinja", ".model", ".txt"})
SPECIAL_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
NOT_COPIED = frozenset({RUN_CONFIG, "adapter_config.json", "trainer_state.json"})


def copy_files(
    plan: Plan, folders: Sequence[Path], models: Sequence[Path], target: Path, settings: Mapping[str, Any]
) -> None:
    """Write all that a model needs besides its weights.

    Args:
        plan: may name another chat template, and its switches.
        folders: of the trained weights and of the base; the tokenizer is that of the first which has one.
        models: those of them that are of the model as it is written; of each other file the first counts.
        target: takes the files.
        settings: what is different in config.json; None: it does not have this.

    Raises:
        FrameworkError: there is no tokenizer, or it has tokens that the embedding lacks, or a folder has links to files
            elsewhere.
    """
    for folder in folders:
        refuse_links(folder, str(folder), besides=".safetensors")
    tokenizer_folders = [
        folder for folder in folders if (folder / TOKENIZER).is_file() or (folder / TOKENIZER_CONFIG).is_file()
    ]
    if not tokenizer_folders:
        raise FrameworkError(
            f"there is no {TOKENIZER} in {' or in '.join(str(folder) for folder in folders)}: fetch the model again"
        )
    for folder in reversed(models):
        for file in _other_files(folder, code=plan.model.config.trust_remote_code):
            shutil.copyfile(file, target / file.name)
    for name in TOKENIZER_FILES:
        if (tokenizer_folders[0] / name).is_file():
            shutil.copyfile(tokenizer_folders[0] / name, target / name)
    if plan.model.config.chat_template is not None:
        template = read_chat_template(plan.model.config.chat_template)
        chat_template.write_template(target, template.text)
        _set_eos_token(target, template.stop)
    chat_template.write_switches(target, plan.model.config.template_switches)
    _update_config(target / MODEL_CONFIG, settings)
    _check_vocabulary_size(tokenizer_folders[0], folders[-1], target, settings)
    _add_eos_to_generation_config(target)


def _other_files(folder: Path, *, code: bool) -> Iterator[Path]:
    """Give the files of a model that are neither weights nor tokenizer."""
    for file in sorted(folder.iterdir()):
        plain = file.suffix in COPIED_SUFFIXES or (code and file.suffix == ".py")
        if plain and file.name not in TOKENIZER_FILES | NOT_COPIED and not file.name.endswith(".index.json"):
            yield file


def _update_config(file: Path, settings: Mapping[str, Any]) -> None:
    """Change settings where they are: of a model that sees images too, those of the text are a part."""
    if not settings:
        return
    config = dict(read_json(file))
    parts = [config, *([config["text_config"]] if isinstance(config.get("text_config"), dict) else [])]
    for name, value in settings.items():
        for part in [part for part in parts if name in part] or parts[:1]:
            part[name] = value
            if value is None:
                del part[name]
    write_json(file, config)


def _check_vocabulary_size(source: Path, base: Path, target: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a tokenizer with more tokens than the embedding has rows; some bases themselves have a few more."""
    config = read_json(target / MODEL_CONFIG)
    rows = (config.get("text_config") or config).get("vocab_size", 0)
    tokens = _vocabulary_size(source)
    if tokens > rows and ("vocab_size" in settings or tokens > _vocabulary_size(base)):
        raise FrameworkError(
            f"{source}: its tokenizer has {tokens} tokens and the embedding {rows} rows: it belongs to another "
            "model, or tokens were added and their trained embedding is missing"
        )


def _vocabulary_size(folder: Path) -> int:
    """Return how many ids a tokenizer uses; 0 if that is unknown."""
    if not (folder / TOKENIZER).is_file():
        return 0
    vocabulary = Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab(with_added_tokens=True)
    return max(vocabulary.values(), default=-1) + 1


def _set_eos_token(target: Path, stop: str) -> None:
    """Make the stop token of a chat template by name the tokenizer's eos token, as the run did."""
    if stop and (target / TOKENIZER_CONFIG).is_file():
        write_json(target / TOKENIZER_CONFIG, {**read_json(target / TOKENIZER_CONFIG), "eos_token": stop})


def _add_eos_to_generation_config(target: Path) -> None:
    """Add the tokenizer's eos token to those that end an answer: a run stops at both, transformers at the latter."""
    if not all((target / name).is_file() for name in (MODEL_CONFIG, TOKENIZER, TOKENIZER_CONFIG)):
        return
    config = read_json(target / MODEL_CONFIG)
    # Without generation_config.json transformers takes what config.json says.
    named = {name: config[name] for name in SPECIAL_TOKEN_IDS if config.get(name) is not None}
    settings = read_json(target / GENERATION_CONFIG) if (target / GENERATION_CONFIG).is_file() else named
    eos = read_json(target / TOKENIZER_CONFIG).get("eos_token")
    eos = eos.get("content") if isinstance(eos, dict) else eos
    eos_id = Tokenizer.from_file(str(target / TOKENIZER)).token_to_id(eos) if eos else None
    listed = settings.get("eos_token_id")
    eos_ids = listed if isinstance(listed, list) else [] if listed is None else [listed]
    if eos_id is not None and eos_id not in eos_ids:
        write_json(target / GENERATION_CONFIG, {**settings, "eos_token_id": [*eos_ids, eos_id]})
