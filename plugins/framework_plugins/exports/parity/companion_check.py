"""What a program reads beside the weights of an export: tokenizer, chat template, stop tokens, settings.

A model folder is opened by the Auto classes of transformers alone, as the code on its model card does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from framework import Plan
from framework.api import summarize_error
from framework_plugins.exports.chat_template import CONFIG_KEY, read_template, with_switches
from framework_plugins.exports.export_folder import (
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    MODEL_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    read_json,
)
from framework_plugins.exports.llama.process import LlamaProcess
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.conversations import RenderedConversation, first_difference
from framework_plugins.lib.chat_templates import ChatTemplate, read_chat_template
from framework_plugins.lib.turns import as_turns

if TYPE_CHECKING:
    from framework_plugins.exports.llama.model import Llama

CHANGED_BY_MERGE = frozenset({"dtype", "torch_dtype", "vocab_size", "tie_word_embeddings"})
"""Settings of config.json that a merge may change; the weights are compared by what they compute."""
BOOKKEEPING = frozenset({"transformers_version", "_name_or_path", "_from_model_config"})
"""Settings that no model depends on."""
OUTPUT_ONLY = frozenset(
    (
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "return_dict_in_generate",
    )
)
"""Settings of generation_config.json that change no text; a file that transformers makes of config.json has them."""
MAX_NAMED_SETTINGS = 3
"""Settings that an error names."""
DEFAULT_ROPE_THETA = 10000.0
"""The rope theta of a GGUF file that names none."""
KEPT_THETA = frozenset({"default", "linear", "yarn", "llama3", "longrope"})
"""Kinds of positions that leave rope theta as config.json has it."""
NORM_KEYS = {
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "layer_norm_eps": "attention.layer_norm_epsilon",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}
"""Settings of config.json, and what a GGUF file calls them."""
WINDOW_KEY = "attention.sliding_window"
SIX_DECIMALS = 1e-6
"""llama.cpp writes no more of a number."""
FLOAT32_TOLERANCE = 1e-5
"""How far a number may be off that a file holds in 32 bits."""


def folder_problem(
    folder: Path,
    trained: Path,
    base: Path,
    tokens: TrainedTokens,
    rendered: Sequence[RenderedConversation],
    *,
    trust: bool,
) -> str:
    """Return in what a program that opens the folder differs from the training; empty if nothing differs.

    Args:
        folder: a model folder.
        trained: the folder with the config of the trained weights: that of the base, or of a model trained whole.
        base: the folder of the base.
        tokens: the tokenizer of the training.
        rendered: conversations as the training writes them.
        trust: run Python code of the folder.
    """
    try:
        exported, trained_config = (
            AutoConfig.from_pretrained(model_folder, trust_remote_code=trust) for model_folder in (folder, trained)
        )
    except Exception as error:  # noqa: BLE001 - third-party files: whatever it is, the folder cannot be used
        return f"{MODEL_CONFIG} cannot be read: {summarize_error(error)}"
    before = {name: value for name, value in trained_config.to_dict().items() if name != "quantization_config"}
    if problem := _differing_settings(MODEL_CONFIG, exported.to_dict(), before, CHANGED_BY_MERGE | BOOKKEEPING):
        return problem
    source = next(
        (model_folder for model_folder in (trained, base) if (model_folder / GENERATION_CONFIG).is_file()), trained
    )
    expected = _generation_config(source, trained_config)
    try:
        generation_config = _generation_config(folder, exported)
    except Exception as error:  # noqa: BLE001 - as above; the class checks no types
        return f"{GENERATION_CONFIG} cannot be read: {summarize_error(error)}"
    free = BOOKKEEPING | OUTPUT_ONLY | {"eos_token_id"}  # the last is compared as a set, below
    if problem := _differing_settings(GENERATION_CONFIG, generation_config.to_dict(), expected.to_dict(), free):
        return problem
    stops = _eos_ids(generation_config)
    if lost_stops := sorted(tokens.stop_ids - stops):
        return f"{GENERATION_CONFIG} ends answers at the tokens {sorted(stops)}, and the training at {lost_stops} too"
    if extra_stops := sorted(stops - tokens.stop_ids - _eos_ids(expected)):
        return f"{GENERATION_CONFIG} ends answers at the tokens {extra_stops} too, and the training does not"
    return (
        _conversation_problem(folder, rendered, trust=trust)
        or tokens.problem(folder)
        or tokens.template_problem(folder)
    )


@dataclass(frozen=True)
class TrainedTokens:
    """The tokenizer that a training used, as its files have it.

    Attributes:
        folder: of its files.
        template: the chat template, with the switches of the training written into it.
        stop: the stop token of a chat template by name, which replaces the tokenizer's eos token; else empty.
        stop_ids: the tokens at which the training ends an answer.
    """

    folder: Path
    template: str
    stop: str
    stop_ids: frozenset[int]

    @classmethod
    def of(cls, plan: Plan, checkpoint: Path, base: Path, stop_ids: frozenset[int]) -> TrainedTokens:
        """Read the tokenizer of a run; trained weights from elsewhere may have a tokenizer of their own."""
        folder = checkpoint if (checkpoint / TOKENIZER).is_file() else base
        settings = plan.model.config
        named = settings.chat_template
        template = ChatTemplate(read_template(folder)) if named is None else read_chat_template(named)
        text = with_switches(template.text, settings.template_switches, always=False)
        return cls(folder, text, template.stop, stop_ids)

    def problem(self, folder: Path) -> str:
        """Say in which setting a tokenizer in a folder differs; texts show only the tokens that are in them."""
        for name in sorted(TOKENIZER_FILES - {CHAT_TEMPLATE, "chat_template.json"}):
            file, original = folder / name, self.folder / name
            if file.is_file() != original.is_file():
                return f"it {'has' if file.is_file() else 'lacks'} {name}, and the tokenizer of the training does not"
            replaced = {"eos_token": self.stop} if self.stop and name == TOKENIZER_CONFIG else {}
            if not file.is_file() or (not replaced and file.read_bytes() == original.read_bytes()):
                continue
            if file.suffix != ".json":
                return f"its {name} is not that of the training"
            if problem := _differing_settings(
                name, read_json(file), {**read_json(original), **replaced}, frozenset({CONFIG_KEY})
            ):
                return problem
        return ""

    def template_problem(self, folder: Path) -> str:
        """Say where a chat template in a folder is another text: conversations show only the turns that are in them."""
        template = read_template(folder)
        if template == self.template:
            return ""
        theirs, ours = first_difference(template, self.template)
        return f"its chat template is another text than that of the training, {theirs!r} instead of {ours!r}"


def stops_early(rows: Sequence[CheckRow], stop_ids: frozenset[int]) -> str:
    """Say that an export ends answers at a token that the trained model says inside of one; empty if it does not."""
    answer_tokens = {token for row in rows for token in row.answer}
    if early := sorted(answer_tokens & stop_ids):
        return f"it ends answers at the tokens {early}, which the trained model writes within answers"
    return ""


def folder_stop_ids(folder: Path, *, trust: bool) -> frozenset[int]:
    """Return the tokens at which `generate` of transformers ends an answer."""
    return _eos_ids(_generation_config(folder, AutoConfig.from_pretrained(folder, trust_remote_code=trust)))


def metadata_problem(llama: Llama | LlamaProcess, trained: Path, longest: int, *, trust: bool) -> str:
    """Say in which setting of norms or positions a GGUF file differs from the config of the trained weights.

    What a converter works out, such as the factors of a rope scaling, shows in the comparison of the long row.

    Args:
        llama: the file.
        trained: the folder with the config.
        longest: tokens of the longest row that the training takes.
        trust: run Python code of the folder.
    """
    config = AutoConfig.from_pretrained(trained, trust_remote_code=trust).get_text_config()
    kind = llama.metadata("general.architecture")
    rope = getattr(config, "rope_parameters", None) or {}
    window = _sliding_window(config)
    turns_nothing = _architecture_value(llama, "rope.scaling.finetuned") == "false"  # then no position is too far
    expected = {
        "context_length": None if turns_nothing else getattr(config, "max_position_embeddings", None),
        WINDOW_KEY: window if longest > (window or 0) or _architecture_value(llama, WINDOW_KEY) else None,
        **{
            key: getattr(config, name)
            for name, key in NORM_KEYS.items()
            if _architecture_value(llama, key) and hasattr(config, name)
        },
    }
    scaling = _architecture_value(llama, "rope.scaling.type") or "none"
    if scaling != "none" and rope.get("rope_type") == "default":
        return f"its {kind}.rope.scaling.type is {scaling}, and the training scales no positions"
    if rope.get("rope_type") in KEPT_THETA:
        expected["rope.freq_base"] = rope.get("rope_theta")
    if "factor" in rope and rope.get("rope_type") in {"linear", "yarn"}:
        expected["rope.scaling.factor"] = rope["factor"]
    for key, value in expected.items():
        stored = _architecture_value(llama, key) or (DEFAULT_ROPE_THETA if key == "rope.freq_base" else None)
        if value is None:
            continue
        if stored is None or abs(float(stored) - value) > max(SIX_DECIMALS, FLOAT32_TOLERANCE * abs(value)):
            return f"its {kind}.{key} is {stored or 'missing'}, and {value:g} in the training"
    return ""


def lost_window(llama: Llama | LlamaProcess, trained: Path, *, trust: bool) -> str:
    """Say that a GGUF file has no sliding window if the trained model has one: llama.cpp has none for some families."""
    window = _sliding_window(AutoConfig.from_pretrained(trained, trust_remote_code=trust).get_text_config())
    if window is None or _architecture_value(llama, WINDOW_KEY):
        return ""
    return f"llama.cpp reads this file without the sliding window of {window:,} tokens: answers to longer texts differ"


def _architecture_value(llama: Llama | LlamaProcess, key: str) -> str | None:
    """Return the value of a key of the file's architecture."""
    return llama.metadata(f"{llama.metadata('general.architecture')}.{key}")


def _sliding_window(config: Any) -> int | None:
    """Return the sliding window of all layers, or of some if the file names it; None if there is none."""
    used = getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None)
    return window if used and isinstance(window, int) else None


def _differing_settings(
    file: str, exported: Mapping[str, Any], trained: Mapping[str, Any], free: frozenset[str]
) -> str:
    """Name the settings that differ, except those in `free`; empty if none does."""
    ours, theirs = (dict(_flatten(settings, free)) for settings in (exported, trained))
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    named = ", ".join(
        f"{name}={ours.get(name)!r:.60} instead of {theirs.get(name)!r:.60}" for name in names[:MAX_NAMED_SETTINGS]
    )
    suffix = f" and {len(names) - MAX_NAMED_SETTINGS} more" if len(names) > MAX_NAMED_SETTINGS else ""
    return f"{file} says {named}{suffix}" if names else ""


def _flatten(settings: Mapping[Any, Any], free: frozenset[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name in free:
            continue
        if isinstance(value, Mapping):
            yield from _flatten(value, free, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(member, Mapping | list) for member in value):
            yield from _flatten(dict(enumerate(value)), free, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _generation_config(folder: Path, config: Any) -> GenerationConfig:
    if (folder / GENERATION_CONFIG).is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config)


def _eos_ids(settings: GenerationConfig) -> frozenset[int]:
    listed = settings.eos_token_id
    return frozenset(listed if isinstance(listed, list) else [] if listed is None else [listed])


def _conversation_problem(folder: Path, rendered: Sequence[RenderedConversation], *, trust: bool) -> str:
    if not any((folder / name).is_file() for name in (TOKENIZER, TOKENIZER_CONFIG)):
        return f"there is no tokenizer, neither {TOKENIZER} nor {TOKENIZER_CONFIG}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # noqa: BLE001 - as above; `tokenizers` raises this very type
        return f"its tokenizer cannot be read: {summarize_error(error)}"
    for chat in rendered:
        turns, tools = (
            as_turns(chat.prompt.messages),
            [dict(tool) for tool in chat.prompt.tools] or None,
        )
        write: dict[str, Any] = {"tools": tools, "add_generation_prompt": True}
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, **write)
            ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **write)["input_ids"]
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            return f"its chat template refuses the turns {chat.roles}: {summarize_error(error)}"
        if text != chat.text:
            right, wrong = first_difference(chat.text, text)
            return f"its chat template writes the turns {chat.roles} differently, {wrong!r} instead of {right!r}"
        if tuple(ids) != chat.ids:
            at = next((n for n, pair in enumerate(zip(ids, chat.ids, strict=False)) if pair[0] != pair[1]), 0)
            return f"its tokenizer splits the turns {chat.roles} differently, from token {at} on"
    return ""
