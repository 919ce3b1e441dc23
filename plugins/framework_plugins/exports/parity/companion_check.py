"""What a program reads beside the weights of an export: tokenizer, chat template, stop tokens, settings.

A model folder is opened by the Auto classes of transformers alone, as the code on its model card does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from framework.api.records import Message
from framework.api.text import summarize_error
from framework_plugins.exports.documents import GENERATION, MODEL, TOKENIZER, TOKENIZER_CONFIG
from framework_plugins.exports.llama.apart import LlamaApart
from framework_plugins.exports.parity.check_rows import CheckRow
from framework_plugins.exports.parity.conversations import Rendered, difference

if TYPE_CHECKING:
    from framework_plugins.exports.llama.model import Llama

OF_THE_MERGE = frozenset({"dtype", "torch_dtype", "vocab_size", "tie_word_embeddings"})
"""Settings of config.json that a merge may change; the weights are compared by what they compute."""
OF_THE_FILE = frozenset({"transformers_version", "_name_or_path", "_from_model_config"})
"""Settings that no model depends on."""
OF_THE_OUTPUT = frozenset(
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
SHOWN = 3
"""Settings that an error names."""
BASE = 10000.0
"""The rope theta of a GGUF file that names none."""
NEAR = 1e-5
"""How far a number may be off that a file holds in 32 bits."""


def problem(
    folder: Path, trained: Path, base: Path, rendered: Sequence[Rendered], stop_ids: frozenset[int], *, trust: bool
) -> str:
    """Say what a program that opens the folder does differently from the training; empty if there is nothing.

    Args:
        folder: a model folder.
        trained: the folder with the config of the trained weights: that of the base, or of a model trained whole.
        base: the folder of the base.
        rendered: conversations as the training writes them.
        stop_ids: the tokens at which the training ends an answer.
        trust: run Python code of the folder.
    """
    try:
        ours, theirs = (AutoConfig.from_pretrained(each, trust_remote_code=trust) for each in (folder, trained))
    except Exception as error:  # noqa: BLE001 - third-party files: whatever it is, the folder cannot be used
        return f"{MODEL} cannot be read: {summarize_error(error)}"
    if told := _different(MODEL, ours.to_dict(), theirs.to_dict(), OF_THE_MERGE | OF_THE_FILE):
        return told
    source = next((each for each in (trained, base) if (each / GENERATION).is_file()), trained)
    expected = _generation(source, theirs)
    try:
        own = _generation(folder, ours)
    except Exception as error:  # noqa: BLE001 - as above; the class checks no types
        return f"{GENERATION} cannot be read: {summarize_error(error)}"
    free = OF_THE_FILE | OF_THE_OUTPUT | {"eos_token_id"}  # the last is compared as a set, below
    if told := _different(GENERATION, own.to_dict(), expected.to_dict(), free):
        return told
    if missing := sorted(stop_ids - _stops(own)):
        return f"{GENERATION} ends answers at the tokens {sorted(_stops(own))}, and the training at {missing} too"
    return _tokenizer_problem(folder, rendered, trust=trust)


def stops_early(rows: Sequence[CheckRow], stop_ids: frozenset[int]) -> str:
    """Say that an export ends answers at a token that the trained model says inside of one; empty where it does not."""
    said = {token for row in rows for token in row.answer}
    if early := sorted(said & stop_ids):
        return f"it ends answers at the tokens {early}, which the trained model writes within answers"
    return ""


def folder_stops(folder: Path, *, trust: bool) -> frozenset[int]:
    """Return the tokens at which `generate` of transformers ends an answer."""
    return _stops(_generation(folder, AutoConfig.from_pretrained(folder, trust_remote_code=trust)))


def metadata_problem(llama: Llama | LlamaApart, trained: Path, *, trust: bool) -> str:
    """Say in which setting of positions a GGUF file differs from the config of the trained weights.

    What a converter works out, such as the factors of a rope scaling, shows in the comparison of the long row.
    """
    config = AutoConfig.from_pretrained(trained, trust_remote_code=trust).get_text_config()
    kind = llama.metadata("general.architecture")
    rope = getattr(config, "rope_parameters", None) or {}
    expected = {
        "context_length": getattr(config, "max_position_embeddings", None),
        "attention.sliding_window": _window(config),
    }
    if rope.get("rope_type") == "default":
        expected["rope.freq_base"] = rope.get("rope_theta")
    if "factor" in rope and rope.get("rope_type") in {"linear", "yarn"}:
        expected["rope.scaling.factor"] = rope["factor"]
    for key, value in expected.items():
        found = llama.metadata(f"{kind}.{key}") or (BASE if key == "rope.freq_base" else None)
        if value is None or (found is None and key == "attention.sliding_window"):
            continue
        if found is None or abs(float(found) - value) > NEAR * abs(value):
            return f"its {kind}.{key} is {found or 'missing'}, and {value:g} in the training"
    return ""


def _window(config: Any) -> int | None:
    """Return the sliding window where every layer has it or the file names one for some; None where none is used."""
    used = getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None)
    return window if used and isinstance(window, int) else None


def _different(file: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], free: frozenset[str]) -> str:
    """Name the settings that differ, those in `free` left out; empty where none does."""
    one, other = (dict(_flat(settings, free)) for settings in (ours, theirs))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    told = ", ".join(f"{name}={one.get(name)!r} instead of {other.get(name)!r}" for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{file} says {told}{more}" if names else ""


def _flat(settings: Mapping[Any, Any], free: frozenset[str], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name in free:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, free, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _generation(folder: Path, config: Any) -> GenerationConfig:
    if (folder / GENERATION).is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config)


def _stops(settings: GenerationConfig) -> frozenset[int]:
    listed = settings.eos_token_id
    return frozenset(listed if isinstance(listed, list) else [] if listed is None else [listed])


def _tokenizer_problem(folder: Path, rendered: Sequence[Rendered], *, trust: bool) -> str:
    if not any((folder / name).is_file() for name in (TOKENIZER, TOKENIZER_CONFIG)):
        return f"there is no tokenizer, neither {TOKENIZER} nor {TOKENIZER_CONFIG}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # noqa: BLE001 - as above; `tokenizers` raises this very type
        return f"its tokenizer cannot be read: {summarize_error(error)}"
    for each in rendered:
        turns, tools = [*map(_turn, each.prompt.messages)], [dict(tool) for tool in each.prompt.tools] or None
        write: dict[str, Any] = {"tools": tools, "add_generation_prompt": True}
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, **write)
            ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **write)["input_ids"]
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            return f"its chat template refuses the turns {each.roles}: {summarize_error(error)}"
        if text != each.text:
            wanted, found = difference(each.text, text)
            return f"its chat template writes the turns {each.roles} differently, {found!r} instead of {wanted!r}"
        if tuple(ids) != each.ids:
            at = next((n for n, pair in enumerate(zip(ids, each.ids, strict=False)) if pair[0] != pair[1]), 0)
            return f"its tokenizer splits the turns {each.roles} differently, from token {at} on"
    return ""


def _turn(message: Message) -> dict[str, Any]:
    """Return a message as chat templates of transformers read it."""
    calls = [
        {
            **({"id": call.id} if call.id else {}),
            "type": "function",
            "function": {"name": call.name, "arguments": dict(call.arguments)},
        }
        for call in message.tool_calls
    ]
    more = {
        "tool_calls": calls,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning_content,
    }
    return {"role": message.role, "content": message.content, **{name: value for name, value in more.items() if value}}
