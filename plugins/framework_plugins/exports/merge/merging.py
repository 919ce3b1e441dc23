"""Trained weights as a complete model folder: an adapter merged into the base as it lies on disk, or a whole model.

The base is read tensor by tensor, shard after shard, each changed weight is computed in fp32 and rounded once, and
written. So a model needs the memory of its largest tensor, not of itself, and what a training quantized is merged into
the weights as they were before. What cannot be matched exactly is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.protocols import ModelPlace, ModelSource
from framework.api.registry import counting
from framework_plugins.exports import documents
from framework_plugins.exports.config import Dtype, bytes_of
from framework_plugins.exports.folders import check_room, whole
from framework_plugins.exports.merge import adapter_files, shards, tokenizer_and_config
from framework_plugins.exports.merge.adapter_files import AdapterFolder
from framework_plugins.exports.merge.headers import FLOATS, Stored, model_files, stored
from framework_plugins.exports.merge.tensor_names import Names, Places
from framework_plugins.exports.merge.weight_delta import Change, Reader, pieces

TYPES = {Dtype.bf16: "BF16", Dtype.fp16: "F16", Dtype.fp32: "F32"}
NAMES = {Dtype.bf16: "bfloat16", Dtype.fp16: "float16", Dtype.fp32: "float32"}
SHARD = "5GB"


@dataclass(frozen=True)
class Output:
    """A tensor of the model that is written: what it is made of, and its name, type and shape."""

    base: Stored
    change: Change
    made: Stored


@dataclass
class Made:
    """All tensors of it, and what is different in config.json."""

    outputs: list[Output]
    settings: dict[str, Any] = field(default_factory=dict)


def merge(
    plan: Plan, checkpoint: Path, target: Path, *, dtype: Dtype = Dtype.auto, max_shard_size: str = SHARD
) -> None:
    """Write a complete model folder; it is complete or absent.

    Args:
        plan: names the base, and the chat template where that is another than the tokenizer's.
        checkpoint: the trained weights: an adapter as peft saves it, or a whole model.
        target: the folder. An earlier export is replaced.
        dtype: the type of the weights; auto: as they lie on disk, the base's for an adapter.
        max_shard_size: the largest file, such as 5GB.

    Raises:
        FrameworkError: the adapter is not of this base or cannot be merged, a file is damaged or missing, the folder
            holds something else, or there is no room on the disk.
    """
    contents, place, adapted = outline(plan, checkpoint)
    contents, trust = _in_type(contents, dtype), plan.model.config.trust_remote_code
    with whole(target, plan.config) as folder:
        check_room(folder, sum(output.made.bytes for output in contents.outputs))
        _write(contents, folder, bytes_of(max_shard_size))
        folders = [checkpoint, place.folder]
        tokenizer_and_config.copy(plan, folders, folders[1:] if adapted else folders, folder, contents.settings)
        _check(contents, folder, trust=trust)


def outline(plan: Plan, checkpoint: Path) -> tuple[Made, ModelPlace, bool]:
    """Return what will be written, where the base lies, and whether the trained weights are an adapter on it.

    Raises:
        FrameworkError: as `merge` does, of the adapter and the files.
    """
    source: ModelSource = plan.model.create()
    adapted = (checkpoint / adapter_files.CONFIG).is_file()
    place = source.fetch(weights=adapted)
    trust = plan.model.config.trust_remote_code
    contents = _adapted(checkpoint, place, trust=trust) if adapted else _trained_whole(checkpoint, place, trust=trust)
    return contents, place, adapted


def _adapted(checkpoint: Path, place: ModelPlace, *, trust: bool) -> Made:
    adapter = AdapterFolder(checkpoint)
    adapter.check_base(place.name)
    tensors, names, places = _model(place.folder, trust=trust)
    changes = adapter.changes(names)
    for name in changes.keys() & places.together.keys():
        raise FrameworkError(
            f"{checkpoint} changes {name}, which transformers assembles from {', '.join(places.together[name])}: "
            "such an adapter cannot be merged, keep it separate"
        )
    tying = bool(adapter.config.get("ensure_weight_tying"))
    extra, untied = _settle_ties(names, tensors, places, changes, keep=tying)
    in_model = {on_disk: name for name, on_disk in places.single.items()}
    outputs = []
    for tensor in tensors.values():
        name = in_model.get(tensor.name, tensor.name)
        outputs.append(_output(tensor, changes.get(name, Change()), tensor.name))
        outputs += [_output(tensor, changes.get(head, Change()), head) for head in extra.get(tensor.name, ())]
    settings: dict[str, Any] = {"tie_word_embeddings": False} if untied else {}
    return Made(outputs, settings | _vocabulary(outputs, names, places))


def _trained_whole(checkpoint: Path, place: ModelPlace, *, trust: bool) -> Made:
    if not (checkpoint / documents.MODEL).is_file():
        raise FrameworkError(f"{checkpoint} holds no adapter ({adapter_files.CONFIG}) and no model ({documents.MODEL})")
    tensors, _, _ = _model(checkpoint, trust=trust)
    if not (checkpoint / documents.TOKENIZER).is_file():
        _check_like(checkpoint, place)
    return Made([_output(tensor, Change(), tensor.name) for tensor in tensors.values()])


def _model(folder: Path, *, trust: bool) -> tuple[dict[str, Stored], Names, Places]:
    """Return the tensors of a model and what they are called in it, all of them there."""
    quantized = documents.read(folder / documents.MODEL).get("quantization_config")
    if quantized:
        kind = quantized.get("quant_method", "unknown")
        raise FrameworkError(
            f"{folder} holds weights that are quantized ({kind}): choose the model in 16 bits as the base"
        )
    tensors = stored(model_files(folder))
    for tensor in tensors.values():
        if tensor.dtype not in shards.TORCH:
            raise FrameworkError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}: choose the model in 16 bits as the base"
            )
    names = Names(folder, trust_remote_code=trust)
    places = names.places(tensors)
    if places.missing:
        more = f" and {len(places.missing) - 1} more" if len(places.missing) > 1 else ""
        raise FrameworkError(f"{folder} lacks {places.missing[0]}{more}: fetch or train it again")
    for name, on_disk in places.single.items():
        if tensors[on_disk].shape != names.shape(name):
            raise FrameworkError(
                f"{folder}: {on_disk} is {tensors[on_disk].shape}, and {documents.MODEL} says {names.shape(name)}"
            )
    return tensors, names, places


def _check_like(checkpoint: Path, place: ModelPlace) -> None:
    """Make sure that the base's tokenizer is right for a whole model that has none of its own."""
    ours, base = (documents.read(folder / documents.MODEL) for folder in (checkpoint, place.folder))
    for name in ("model_type", "vocab_size"):
        if ours.get(name) != base.get(name):
            raise FrameworkError(
                f"{checkpoint} has no tokenizer, and that of {place.name} belongs to another model: {name} is "
                f"{ours.get(name)} here and {base.get(name)} there. Choose the base that it was trained from"
            )


def _settle_ties(
    names: Names, tensors: Mapping[str, Stored], places: Places, changes: dict[str, Change], *, keep: bool
) -> tuple[Mapping[str, list[str]], bool]:
    """Decide what becomes of an embedding that is the output head too, where the adapter changes one of them.

    Changed alike, they stay one; else each is written by itself, as training left them.

    Returns:
        Names of heads that are written besides, by the name on disk of what they are made of; and whether any was.
    """
    extra: dict[str, list[str]] = {}
    untied = False
    for pair in names.tied.items():
        changed = [changes.get(name, Change()) for name in pair]
        both = [tensors[places.single[name]] for name in pair if name in places.single]
        if changed == [Change(), Change()] or (
            len(both) > 1 and not _equal(*both)
        ):  # transformers ties equal ones only
            continue
        if (together := _together(*changed, keep=keep)) is not None:
            changes |= dict.fromkeys(pair, together)
            continue
        untied = True
        missing = [name for name in pair if name not in places.single]
        on_disk = next(places.single[name] for name in pair if name in places.single)
        extra.setdefault(on_disk, []).extend(missing)
    return extra, untied


def _together(head: Change, embedding: Change, *, keep: bool) -> Change | None:
    """Return the one change of two tied weights; None where they differ after it."""
    if head.low_rank or embedding.low_rank:
        return None
    if embedding.rows and head == Change():  # peft trains the rows of both as one
        return embedding
    if head.whole and embedding.whole:
        return embedding if _equal(head.whole, embedding.whole) else None
    return (embedding if head == Change() else head) if keep else None


def _equal(one: Stored, other: Stored) -> bool:
    read = Reader()
    same = torch.equal(read(one), read(other))
    read.close()
    return same


def _output(base: Stored, change: Change, name: str) -> Output:
    shape = change.whole.shape if change.whole else base.shape
    return Output(base, change, Stored(base.file, name, base.dtype, shape))


def _vocabulary(outputs: list[Output], names: Names, places: Places) -> dict[str, int]:
    """Return the number of tokens where it is another than the base's."""
    heads = {places.single.get(name, name) for name in (names.embedding, names.head) if name}
    rows = {output.made.shape[0] for output in outputs if output.made.name in heads}
    if len(rows) > 1:
        raise FrameworkError(
            f"the adapter leaves {' and '.join(map(str, sorted(rows)))} rows to embedding and output head"
        )
    return {} if rows <= {names.shape(names.embedding)[0]} else {"vocab_size": rows.pop()}


def _in_type(contents: Made, dtype: Dtype) -> Made:
    if dtype is Dtype.auto:
        return contents
    outputs = [
        replace(output, made=replace(output.made, dtype=TYPES[dtype])) if output.made.dtype in FLOATS else output
        for output in contents.outputs
    ]
    return Made(outputs, contents.settings | {"dtype": NAMES[dtype]})


def _write(contents: Made, folder: Path, limit: int) -> None:
    outputs = {output.made.name: output for output in contents.outputs}
    base, adapter = Reader(), Reader()

    def read(tensor: Stored) -> torch.Tensor:
        return adapter(tensor) if tensor.file.name == adapter_files.WEIGHTS else base(tensor)

    def made_of(tensor: Stored) -> Iterator[torch.Tensor]:
        output = outputs[tensor.name]
        counter.advance()  # before, since a generator around the pieces would keep the last one a little longer
        return pieces(output.base, output.change, tensor.dtype, read)

    try:
        with counting(len(outputs), "matrix", "merging") as counter:
            shards.write(folder, [output.made for output in contents.outputs], made_of, limit)
    finally:
        base.close()
        adapter.close()


def _check(contents: Made, folder: Path, *, trust: bool) -> None:
    """Read the folder again as transformers will, and compare it with what was to be written."""
    tensors, _, _ = _model(folder, trust=trust)
    expected = {output.made.name: (output.made.dtype, output.made.shape) for output in contents.outputs}
    assert {name: (each.dtype, each.shape) for name, each in tensors.items()} == expected  # noqa: S101 - ours to keep
