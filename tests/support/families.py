"""Tiny tokenizers with the tokens and the chat form of well-known families; templates are in templates/, or TRL's."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).with_name("templates")
_TEXT = """How many are there? Two, I think. Sure? No, three. What is the weather in Bern? It is sunny and warm.
You are brief. system user assistant model tool {"name": "get_weather", "arguments": {"city": "Bern"}}"""
_UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Family:
    """What makes a tokenizer of a family: how words are cut, its added tokens, special or plain, and further stops.

    `trl` names a template of TRL; without it, the template is the file of the family's name.
    """

    words: str
    bos: str | None
    eos: str
    special: tuple[str, ...]
    plain: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    trl: str = ""


_CHATML = Family("bytes", None, "<|im_end|>", ("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
_DEEPSEEK = Family(
    "bytes",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
)
_MISTRAL = ("<s>", "</s>", "[INST]", "[/INST]")
FAMILIES = {
    "llama3": Family(
        "bytes",
        "<|begin_of_text|>",
        "<|eot_id|>",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        stops=("<|end_of_text|>",),
    ),
    "mistral_v3": Family(
        "first",
        "<s>",
        "</s>",
        (*_MISTRAL, "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    ),
    "mistral_v7": Family("bytes", "<s>", "</s>", (*_MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")),
    "chatml": _CHATML,
    "chatml_marked": _CHATML,
    "gemma": Family(
        "gemma", "<bos>", "<eos>", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), ("\n\n", "\n\n\n"),
        stops=("<end_of_turn>",),
    ),
    "qwen3": Family(
        "bytes", None, "<|im_end|>", _CHATML.special, ("<think>", "</think>", "<tool_call>", "</tool_call>")
    ),
    "phi3": Family(
        "legacy", "<s>", "<|endoftext|>",
        ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), stops=("<|end|>",),
    ),
    "phi4": Family("bytes", None, "<|im_end|>", (*_CHATML.special, "<|im_sep|>")),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_r1": _DEEPSEEK,
}  # fmt: skip
_CALLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_QWEN = Family("bytes", None, "<|im_end|>", _CHATML.special, ("<think>", "</think>", *_CALLS, "\n\n"))
_GEMMA = FAMILIES["gemma"]
PUBLISHED: Mapping[str, Family] = {
    "qwen3_published": replace(_QWEN, trl="qwen3"),
    "qwen3_2507": replace(_QWEN, trl="qwen3_instruct_2507"),
    "qwen3_5": replace(_QWEN, trl="qwen3_5_think"),
    "gemma3": replace(_GEMMA, trl="gemma3"),
    "gemma4": Family(
        "gemma", "<bos>", "<eos>",
        ("<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>",
         "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>'),
        _GEMMA.plain, ("<turn|>", "<|tool_response>"), "gemma4_v5",
    ),
    "muse_glimmer": Family(
        "bytes", "<|begin_of_text|>", "<|eot|>",
        ("<|begin_of_text|>", "<|start|>", "<|message|>", "<|eot|>", "<|eom|>", "<|final|>", "<|patch|>"),
        trl="muse_glimmer",
    ),
    "lfm2": Family(
        "bytes", "<|startoftext|>", "<|im_end|>",
        ("<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|tool_list_start|>", "<|tool_list_end|>",
         "<|tool_call_start|>", "<|tool_call_end|>", "<|tool_response_start|>", "<|tool_response_end|>"),
        trl="lfm2_v2",
    ),
    "granite4": Family(
        "bytes", None, "<|end_of_text|>", ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"), _CALLS
    ),
    "nemotron_h": Family("bytes", "<s>", "<SPECIAL_12>", ("<s>", "<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>")),
    "nemotron3": replace(_QWEN, trl="nemotron_3_nano"),
    "falcon_h1": Family("bytes", "<|begin_of_text|>", "<|im_end|>", ("<|begin_of_text|>", *_CHATML.special), _CALLS),
    "glm4": Family(
        "bytes", None, "<|endoftext|>",
        ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        ("<think>", "</think>", *_CALLS, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        ("<|user|>", "<|observation|>"), "glm4moe",
    ),
    "olmo3": replace(_CHATML, eos="<|endoftext|>", stops=("<|im_end|>",)),
    "smollm3": _QWEN,
    "llama4": Family(
        "bytes", "<|begin_of_text|>", "<|eot|>",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>", "<|python_start|>",
         "<|python_end|>"),
        stops=("<|end_of_text|>",),
    ),
}  # fmt: skip
"""Families with the template that TRL has of them, or one of the same form. Tests that take all families do without:
these templates are long."""
_ALL: Mapping[str, Family] = {**FAMILIES, **PUBLISHED}


@functools.cache
def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a family, the same each time: leave it as it is."""
    return make_tokenizer(name)


def make_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of a family to change at will."""
    family = _ALL[name]
    core = core_tokenizer(family.words)
    core.add_special_tokens(list(family.special))
    core.add_tokens(_as_they_are(family.plain))
    template = trl_templates()[family.trl] if family.trl else TEMPLATES / f"{name}.jinja"
    roles = {"eos_token": family.eos} | ({"bos_token": family.bos} if family.bos else {})
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template.read_text(encoding="utf-8"), **roles)


def core_tokenizer(words: str) -> Any:
    """Return a `tokenizers.Tokenizer` that cuts words in one of the ways below, without added tokens."""
    return _WORDS[words]()


@functools.cache
def trl_templates() -> dict[str, Path]:
    """Return the files of TRL's chat templates by their names."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return {file.stem: file for file in sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))}


def stop_ids(name: str) -> frozenset[int]:
    """Return the ids that end an answer of a family."""
    family = _ALL[name]
    ids = family_tokenizer(name).convert_tokens_to_ids([family.eos, *family.stops])
    return frozenset(ids)


def _as_they_are(words: Sequence[str]) -> list[Any]:
    from tokenizers import AddedToken

    return [AddedToken(word, normalized=False, special=False) for word in words]


def _bytes() -> Any:
    """Cut as GPT-2 and its heirs do: words with the space before them, as bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(_TEXT.splitlines(), trainer)
    return core


def _pieces(cutter: Any, normalizer: Any, *, as_bytes: bool = True) -> Any:
    """Cut as SentencePiece does: a space is a letter of its own, and what is unknown falls apart into bytes, or not."""
    from tokenizers import Tokenizer, decoders, models, trainers

    first = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    first.normalizer, first.pre_tokenizer = normalizer, cutter
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=[_UNKNOWN], show_progress=False)
    first.train_from_iterator(_TEXT.splitlines(), trainer)
    learned = json.loads(first.to_str())["model"]
    vocab = learned["vocab"]
    vocab |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in learned["merges"]]
    core = Tokenizer(models.BPE(vocab, merges, unk_token=_UNKNOWN, byte_fallback=as_bytes, fuse_unk=True))
    core.normalizer, core.pre_tokenizer = normalizer, cutter
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return core


def _first() -> Any:
    """Put a space before the very first word only."""
    from tokenizers import pre_tokenizers

    return _pieces(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), None)


def _unknown() -> Any:
    """Cut like `_first`, and take all neighbours that are unknown for one word."""
    from tokenizers import pre_tokenizers

    return _pieces(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), None, as_bytes=False)


def _always() -> Any:
    """Put a space before each piece of text."""
    from tokenizers import pre_tokenizers

    return _pieces(pre_tokenizers.Metaspace(prepend_scheme="always", split=True), None)


def _legacy() -> Any:
    """Do the same in the normalizer, like Llama 2."""
    from tokenizers import normalizers

    return _pieces(None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def _gemma() -> Any:
    from tokenizers import normalizers, pre_tokenizers

    return _pieces(pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", "▁"))


_WORDS = {"bytes": _bytes, "first": _first, "unknown": _unknown, "always": _always, "legacy": _legacy, "gemma": _gemma}
