"""SentencePiece vocabularies: the files that llama.cpp's converter requires, made from `tokenizer.json`.

transformers 5 saves `tokenizer.json` and nothing else. The converter reads these vocabularies from `tokenizer.model`,
a SentencePiece model, and the added tokens from `tokenizer_config.json`, where older versions of transformers put them.
Both are made again here, so that Llama 2, Mistral, Gemma and Phi-3 convert from what a run saved.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ADD_SPACE_KEY = "tokenizer.ggml.add_space_prefix"


def is_sentencepiece(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` is a SentencePiece model: merges of letters, and bytes for letters it lacks."""
    return tokenizer["model"].get("type") == "BPE" and bool(tokenizer["model"].get("byte_fallback"))


def complete_folder(folder: Path) -> None:
    """Write the files that the converter requires and the folder lacks."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if not is_sentencepiece(tokenizer):
        return
    if not (folder / "tokenizer.model").exists():
        (folder / "tokenizer.model").write_bytes(sentencepiece_model(tokenizer))
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    added = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in tokenizer["added_tokens"]}
    file.unlink()  # it may be a link to the file of the run
    file.write_text(json.dumps({"added_tokens_decoder": added, **settings}), encoding="utf-8")


def gguf_settings(tokenizer: Mapping[str, Any]) -> dict[str, bool]:
    """Return metadata of GGUF that say how text is cut, where llama.cpp's default is another.

    llama.cpp puts a space before the text at the start and after every special token. tokenizers do that with a
    normalizer that prepends it, or with `Metaspace` where its scheme is "always". With "first" the space comes only
    before a text that begins without a special token, which a prompt of a chat template does not.
    """
    if not is_sentencepiece(tokenizer):
        return {}
    parts = json.dumps([tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")])
    return {_ADD_SPACE_KEY: '"Prepend"' in parts or '"always"' in parts}


def sentencepiece_model(tokenizer: Mapping[str, Any]) -> bytes:
    """Return a SentencePiece model that cuts text as the merges of a `tokenizer.json` do.

    SentencePiece joins the neighbours that make the piece with the highest score, `tokenizers` those whose merge
    is first. So a piece's score is the place of its first merge, counted downwards.
    """
    # Its classes are made when it is imported, so they have no types.
    proto: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    text = {token_id: piece for piece, token_id in vocabulary.items()}
    text |= {token_id: token["content"] for token_id, token in added.items()}
    unknown = tokenizer["model"]["unk_token"]
    rank: dict[str, int] = {}
    for merge in tokenizer["model"]["merges"]:
        rank.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), len(rank))
    result = proto.ModelProto()
    result.trainer_spec.model_type, result.trainer_spec.byte_fallback = proto.TrainerSpec.BPE, True
    result.normalizer_spec.add_dummy_prefix = False
    kinds = proto.ModelProto.SentencePiece
    for token_id in range(max(text) + 1):
        content = text.get(token_id, f"[PAD{token_id}]")
        kind = kinds.NORMAL
        if content == unknown:
            kind = kinds.UNKNOWN
        elif token_id not in text:
            kind = kinds.UNUSED
        elif _BYTE.fullmatch(content):
            kind = kinds.BYTE
        elif token_id in added:
            kind = kinds.CONTROL if added[token_id]["special"] else kinds.USER_DEFINED
        result.pieces.add(piece=content, score=-float(rank.get(content, len(rank))), type=kind)
    return bytes(result.SerializeToString())
