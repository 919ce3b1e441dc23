"""Trained weights as a complete model folder: an adapter merged into the base as it lies on disk, or a whole model.

The base is read tensor by tensor, shard after shard, each changed weight is computed in fp32 and rounded once, and
written. So a model needs the memory of its largest tensor, not of itself, and what a training quantized is merged into
the weights as they were before. What cannot be matched exactly is an error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from framework import FrameworkError, Plan
from framework.api import counting
from framework.api.training import ModelPlace, ModelSource
from framework_plugins.exports.config import Dtype, parse_size
from framework_plugins.exports.disk_and_memory import check_disk_space
from framework_plugins.exports.export_folder import MODEL_CONFIG, TOKENIZER, new_folder, read_json
from framework_plugins.exports.merge import safetensors_io, tokenizer_and_config
from framework_plugins.exports.merge.adapter_files import AdapterFolder
from framework_plugins.exports.merge.expert_check import ModelFiles, experts_problem
from framework_plugins.exports.merge.tensor_names import Group, MetaModel, TensorMap
from framework_plugins.exports.merge.weight_delta import LowRank, TensorReader, WeightDelta, merged_chunks
from framework_plugins.lib.model_settings import check_base
from framework_plugins.lib.weight_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    FLOAT_DTYPES,
    MXFP4,
    SINGLE_FILE,
    StoredTensor,
    read_headers,
    unpacked_mxfp4,
    weight_files,
)

SAFETENSORS_DTYPES = {Dtype.bf16: "BF16", Dtype.fp16: "F16", Dtype.fp32: "F32"}
CONFIG_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
CONFIG_DTYPES = {dtype: CONFIG_NAMES[name] for dtype, name in SAFETENSORS_DTYPES.items()}
DEFAULT_SHARD_SIZE = "5GB"


@dataclass(frozen=True)
class Rearranged:
    """Tensors of files that transformers takes together, and the deltas of the weights that it makes of them.

    Attributes:
        model: knows how they are rearranged.
        tensors: those of the files, by name.
        deltas: by the names of the weights.
    """

    model: MetaModel
    tensors: Mapping[str, StoredTensor]
    deltas: Mapping[str, WeightDelta]

    def merged(self, dtype: str, read: Callable[[StoredTensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors after the deltas, each as the files hold it: the rearrangement is followed backwards.

        Args:
            dtype: the type that each weight is rounded to.
            read: reads a tensor.
        """
        parts = [read(tensor) for tensor in self.tensors.values()]
        sizes = [part.numel() for part in parts]
        values = torch.cat([part.reshape(-1) for part in parts])
        merged = values.to(safetensors_io.TORCH_DTYPES[dtype])
        numbers = torch.split(torch.arange(len(values)), sizes)
        # Which element of the files each element of a weight is: transformers moves numbers as it moves weights.
        places = self.model.rearrange(
            {name: part.view(tensor.shape) for (name, tensor), part in zip(self.tensors.items(), numbers, strict=True)}
        )
        for name, delta in self.deltas.items():
            weight = StoredTensor(next(iter(self.tensors.values())).file, name, dtype, tuple(places[name].shape))
            base = values[places[name]]

            def read_weight(tensor: StoredTensor, weight: StoredTensor = weight, base: torch.Tensor = base) -> Any:
                return base if tensor is weight else read(tensor)

            merged[places[name]] = torch.cat(list(merged_chunks(weight, delta, dtype, read_weight)))
        return {
            name: part.view(tensor.shape)
            for (name, tensor), part in zip(self.tensors.items(), torch.split(merged, sizes), strict=True)
        }


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of the model that is written: what it is made of, and its name, type and shape.

    With `rearranged` it is one of the tensors of that, else `base` after `delta`.
    """

    base: StoredTensor
    delta: WeightDelta
    target: StoredTensor
    rearranged: Rearranged | None = None


@dataclass
class MergePlan:
    """A model that is written.

    Attributes:
        outputs: all tensors of it.
        settings: what is different in config.json.
        base: what an adapter is merged into.
        adapted: the adapter's matrices, by the names of the weights that hold experts.
    """

    outputs: list[OutputTensor]
    settings: dict[str, Any] = field(default_factory=dict)
    base: ModelFiles | None = None
    adapted: Mapping[str, LowRank] = field(default_factory=dict)


def merge(
    plan: Plan, checkpoint: Path, target: Path, *, dtype: Dtype = Dtype.auto, max_shard_size: str = DEFAULT_SHARD_SIZE
) -> None:
    """Write a complete model folder; it is complete or absent.

    Args:
        plan: names the base, and the chat template if that is another than the tokenizer's.
        checkpoint: the trained weights: an adapter as peft saves it, or a whole model.
        target: the folder. An earlier export is replaced.
        dtype: the type of the weights; auto: as they lie on disk, the base's for an adapter.
        max_shard_size: the largest file, such as 5GB.

    Raises:
        FrameworkError: the adapter is not of this base or cannot be merged, a file is damaged or missing, the folder
            holds something else, or there is no room on the disk.
    """
    merge_plan, location, adapted = plan_merge(plan, checkpoint)
    merge_plan, trust = _with_dtype(merge_plan, dtype), plan.model.config.trust_remote_code
    with new_folder(target, plan.config) as folder:
        check_disk_space(folder, sum(output.target.bytes for output in merge_plan.outputs))
        _write(merge_plan, folder, parse_size(max_shard_size))
        folders = [checkpoint, location.folder]
        tokenizer_and_config.copy_files(plan, folders, folders[1:] if adapted else folders, folder, merge_plan.settings)
        _verify(merge_plan, folder, trust=trust)


def plan_merge(plan: Plan, checkpoint: Path) -> tuple[MergePlan, ModelPlace, bool]:
    """Return what will be written, where the base lies, and whether the trained weights are an adapter on it.

    Raises:
        FrameworkError: as `merge` does, of the adapter and the files.
    """
    source: ModelSource = plan.model.create()
    adapted = (checkpoint / ADAPTER_CONFIG).is_file()
    location = source.fetch(weights=adapted)
    trust = plan.model.config.trust_remote_code
    merge_plan = (
        _plan_adapter(checkpoint, location, trust=trust)
        if adapted
        else _plan_full_model(checkpoint, location, trust=trust)
    )
    return merge_plan, location, adapted


def _plan_adapter(checkpoint: Path, location: ModelPlace, *, trust: bool) -> MergePlan:
    adapter = AdapterFolder(checkpoint)
    check_base(adapter.config, f"the adapter in {adapter.folder}", location.name)
    tensors, model, tensor_map = read_model(location.folder, trust=trust)
    deltas = adapter.weight_deltas(model)
    adapted = {name: delta.low_rank for name, delta in deltas.items() if delta.low_rank and delta.low_rank.experts}
    rearranged: dict[str, Rearranged] = {}
    for group in tensor_map.groups:
        changes = {name: deltas[name] for name in group.weights if name in deltas}
        if changes and not group.whole:
            raise FrameworkError(f"{checkpoint} changes {_part_problem(group)}")
        if changes and (placed := _delta_of_each_file(model, tensors, group.files, changes)):
            deltas |= placed
        elif changes:
            rearrangement = Rearranged(model, {name: tensors[name] for name in group.files}, changes)
            rearranged |= dict.fromkeys(group.files, rearrangement)
    tying = bool(adapter.config.get("ensure_weight_tying"))
    extra_heads, untied = _resolve_tied_weights(model, tensors, tensor_map, deltas, keep=tying)
    in_model = {on_disk: name for name, on_disk in tensor_map.one_to_one.items()}
    outputs = []
    for tensor in tensors.values():
        name = in_model.get(tensor.name, tensor.name)
        output = _output_tensor(tensor, deltas.get(name, WeightDelta()), tensor.name)
        outputs.append(replace(output, rearranged=rearranged.get(tensor.name)))
        outputs += [
            _output_tensor(tensor, deltas.get(head, WeightDelta()), head) for head in extra_heads.get(tensor.name, ())
        ]
    settings = _described(location.folder, outputs, model, tensor_map, untied=untied)
    settings |= _vocabulary_size(outputs, model, tensor_map)
    return MergePlan(outputs, settings, ModelFiles(tensors, model, tensor_map), adapted)


def _delta_of_each_file(
    model: MetaModel, tensors: Mapping[str, StoredTensor], files: tuple[str, ...], deltas: Mapping[str, WeightDelta]
) -> Mapping[str, WeightDelta]:
    """Return the deltas of tensors in files that are single experts of one weight: each is merged alone.

    Empty if they are rearranged in another way than expert after expert.
    """
    name, delta = next(iter(deltas.items()))
    positions = {file: model.place_in_fused(file) for file in files}
    low_rank = delta.low_rank
    plain = len(deltas) == 1 and delta == WeightDelta(low_rank=low_rank)
    if low_rank is None or low_rank.transposed or not plain:
        return {}
    parts = len({position[1] for position in positions.values() if position}) or 1
    complete = all(
        position and tensors[file].shape[0] * parts == model.shape(name)[1] for file, position in positions.items()
    )
    return {
        file: WeightDelta(
            low_rank=replace(low_rank, expert=position[0], first_row=position[1] * tensors[file].shape[0])
        )
        for file, position in (positions.items() if complete else ())
        if position
    }


def _plan_full_model(checkpoint: Path, location: ModelPlace, *, trust: bool) -> MergePlan:
    if not (checkpoint / MODEL_CONFIG).is_file():
        raise FrameworkError(f"{checkpoint} holds no adapter ({ADAPTER_CONFIG}) and no model ({MODEL_CONFIG})")
    tensors, model, tensor_map = read_model(checkpoint, trust=trust)
    if not (checkpoint / TOKENIZER).is_file():
        _check_same_model(checkpoint, location)
    outputs = [_output_tensor(tensor, WeightDelta(), tensor.name) for tensor in tensors.values()]
    return MergePlan(outputs, _described(checkpoint, outputs, model, tensor_map))


def rehearse(plan: Plan, exporter: str) -> None:
    """Try the names and shapes of a merge, and the files beside the weights, before anything is trained.

    It reads headers only. Of weights that are not downloaded, the names are those that transformers writes.

    Args:
        plan: names the base and the adapter.
        exporter: what merges, for messages.

    Raises:
        FrameworkError: the merge would fail after the training.
    """
    location = plan.model.create().fetch(weights=False)
    try:
        _, _, tensor_map = read_model(location.folder, trust=plan.model.config.trust_remote_code, downloaded=False)
        for group in tensor_map.groups:
            if not group.whole and any(plan.adapter.config.may_change(name) for name in group.weights):
                raise FrameworkError(f"the adapter changes {_part_problem(group)}")  # noqa: TRY301 - as the rest
        with TemporaryDirectory() as scratch:
            tokenizer_and_config.copy_files(plan, [location.folder], [location.folder], Path(scratch), {})
    except FrameworkError as error:
        raise FrameworkError(
            f"exporter={exporter}: nothing can be merged into model {location.name}: {error}\n"
            "exporter=[adapter] works without a merge"
        ) from error


def _part_problem(group: Group) -> str:
    return (
        f"{group.weights[0]}, which transformers makes of only a part of {group.files[0]}: such an adapter cannot be "
        "merged, keep it separate: exporter=[adapter]"
    )


def read_model(
    folder: Path, *, trust: bool, downloaded: bool = True
) -> tuple[dict[str, StoredTensor], MetaModel, TensorMap]:
    """Return the tensors of a model and what they are called in it, all of them there.

    Args:
        folder: of the model.
        trust: whether code in it may be run.
        downloaded: if not, the weights may be missing.

    Raises:
        FrameworkError: the files and config.json do not fit together, or the weights are quantized.
    """
    quantized = read_json(folder / MODEL_CONFIG).get("quantization_config")
    kind = quantized.get("quant_method", "unknown") if quantized else ""
    if kind not in {"", MXFP4}:
        raise FrameworkError(
            f"{folder} holds weights that are quantized ({kind}): choose the model in 16 bits as the base"
        )
    model = MetaModel(folder, trust_remote_code=trust)
    try:
        files = weight_files(folder)
    except FrameworkError:
        if downloaded:
            raise
        shapes = model.stored().items()
        tensors = {name: StoredTensor(folder / SINGLE_FILE, name, "BF16", shape) for name, shape in shapes}
    else:
        tensors = read_headers(files)
        tensors = unpacked_mxfp4(tensors) if kind == MXFP4 else tensors
    for tensor in tensors.values():
        if tensor.dtype not in safetensors_io.TORCH_DTYPES:
            raise FrameworkError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}: choose the model in 16 bits as the base"
            )
    tensor_map = model.map_tensors({name: tensor.shape for name, tensor in tensors.items()})
    if tensor_map.missing:
        tail = f" and {len(tensor_map.missing) - 1} more" if len(tensor_map.missing) > 1 else ""
        raise FrameworkError(
            f"{folder}: no tensor in its files becomes {tensor_map.missing[0]}{tail}, which {MODEL_CONFIG} describes: "
            f"restore the two files together, from one source"
        )
    for name, on_disk in tensor_map.one_to_one.items():
        if tensors[on_disk].shape != model.shape(name):
            raise FrameworkError(
                f"{folder}: {on_disk} is {tensors[on_disk].shape}, and {MODEL_CONFIG} says {model.shape(name)}"
            )
    return tensors, model, tensor_map


def _check_same_model(checkpoint: Path, location: ModelPlace) -> None:
    """Make sure that the base's tokenizer is right for a whole model that has none of its own."""
    ours, base = (read_json(folder / MODEL_CONFIG) for folder in (checkpoint, location.folder))
    for name in ("model_type", "vocab_size"):
        if ours.get(name) != base.get(name):
            raise FrameworkError(
                f"{checkpoint} has no tokenizer, and that of {location.name} belongs to another model: {name} is "
                f"{ours.get(name)} here and {base.get(name)} there. Choose the base that it was trained from"
            )


def _resolve_tied_weights(
    model: MetaModel,
    tensors: Mapping[str, StoredTensor],
    tensor_map: TensorMap,
    deltas: dict[str, WeightDelta],
    *,
    keep: bool,
) -> tuple[Mapping[str, list[str]], bool]:
    """Decide whether an embedding that is also the output head stays tied if the adapter changes one of them.

    If both change in the same way, they stay tied; else each is written by itself, as training left it. So are layers
    that share weights, Zamba2's for one: an adapter has matrices for each of them.

    Returns:
        Names of weights that are written besides, by the name on disk of what they are made of; and whether the head
        is one of its own now.
    """
    extra_heads: dict[str, list[str]] = {}
    untied = False
    for pair in model.tied.items():
        changed = [deltas.get(name, WeightDelta()) for name in pair]
        pair_tensors = [tensors[tensor_map.one_to_one[name]] for name in pair if name in tensor_map.one_to_one]
        if changed == [WeightDelta(), WeightDelta()] or (
            len(pair_tensors) > 1 and not _same_values(*pair_tensors)
        ):  # transformers ties equal ones only
            continue
        if (shared_delta := _shared_delta(*changed, keep=keep)) is not None:
            deltas |= dict.fromkeys(pair, shared_delta)
            continue
        untied |= model.head in pair
        missing_names = [name for name in pair if name not in tensor_map.one_to_one]
        on_disk = next(tensor_map.one_to_one[name] for name in pair if name in tensor_map.one_to_one)
        extra_heads.setdefault(on_disk, []).extend(missing_names)
    return extra_heads, untied


def _described(
    folder: Path, outputs: Sequence[OutputTensor], model: MetaModel, tensor_map: TensorMap, *, untied: bool = False
) -> dict[str, Any]:
    """Return what config.json has to say otherwise for the files that are written: programs believe it, not the files.

    Args:
        folder: of the config.json.
        outputs: all tensors.
        model: of the config.json.
        tensor_map: of the files in the folder.
        untied: the merge itself unties embedding and head.
    """
    config = read_json(folder / MODEL_CONFIG)
    weight_counts = Counter(dict.fromkeys(CONFIG_NAMES, 0))
    for output in outputs:
        weight_counts[output.target.dtype] += math.prod(output.target.shape)
    dtype = CONFIG_NAMES[max(CONFIG_NAMES, key=weight_counts.__getitem__)]
    named = [part.get(key) for part in (config, config.get("text_config") or {}) for key in ("dtype", "torch_dtype")]
    settings: dict[str, Any] = {"dtype": dtype} if {*named} - {None, dtype} else {}
    if config.get("quantization_config"):  # in 16 bits now
        settings["quantization_config"] = None
    pair = [tensor_map.one_to_one.get(name, "") for name in (model.head, model.tied.get(model.head, ""))]
    stored = {output.base.name: output.base for output in outputs}
    if untied or (all(pair) and not _same_values(*(stored[name] for name in pair))):
        settings["tie_word_embeddings"] = False
    return settings


def _shared_delta(head: WeightDelta, embedding: WeightDelta, *, keep: bool) -> WeightDelta | None:
    """Return the one delta of two tied weights; None if they differ after it."""
    if head.low_rank or embedding.low_rank:
        return None
    if embedding.rows and head == WeightDelta():  # peft trains the rows of both as one
        return embedding
    if head.replacement and embedding.replacement:
        return embedding if _same_values(head.replacement, embedding.replacement) else None
    return (embedding if head == WeightDelta() else head) if keep else None


def _same_values(left: StoredTensor, right: StoredTensor) -> bool:
    read = TensorReader()
    equal = torch.equal(read(left), read(right))
    read.close()
    return equal


def _output_tensor(base: StoredTensor, delta: WeightDelta, name: str) -> OutputTensor:
    shape = delta.replacement.shape if delta.replacement else base.shape
    shape = (max(shape[0], 1 + max(delta.indices)), *shape[1:]) if delta.indices else shape
    return OutputTensor(base, delta, StoredTensor(base.file, name, base.dtype, shape))


def _vocabulary_size(outputs: list[OutputTensor], model: MetaModel, tensor_map: TensorMap) -> dict[str, int]:
    """Return the number of tokens if it differs from that of the base; some families have more rows than tokens."""
    heads = {tensor_map.one_to_one.get(name, name) for name in (model.embedding, model.head) if name}
    parts = [output for output in outputs if output.target.name in heads]
    added = {output.target.shape[0] - output.base.shape[0] for output in parts}
    if len(added) > 1:
        rows = sorted({output.target.shape[0] for output in parts})
        raise FrameworkError(f"the adapter leaves {' and '.join(map(str, rows))} rows to embedding and output head")
    tokens: int = model.model.config.get_text_config().vocab_size
    return {"vocab_size": tokens + added.pop()} if added - {0} else {}


def _with_dtype(merge_plan: MergePlan, dtype: Dtype) -> MergePlan:
    if dtype is Dtype.auto:
        return merge_plan
    outputs = [
        replace(output, target=replace(output.target, dtype=SAFETENSORS_DTYPES[dtype]))
        if output.target.dtype in FLOAT_DTYPES
        else output
        for output in merge_plan.outputs
    ]
    return replace(merge_plan, outputs=outputs, settings=merge_plan.settings | {"dtype": CONFIG_DTYPES[dtype]})


def _write(merge_plan: MergePlan, folder: Path, limit: int) -> None:
    outputs = {output.target.name: output for output in merge_plan.outputs}
    base, adapter = TensorReader(), TensorReader()

    def read(tensor: StoredTensor) -> torch.Tensor:
        return adapter(tensor) if tensor.file.name == ADAPTER_WEIGHTS else base(tensor)

    def chunks_of(tensor: StoredTensor) -> Iterator[torch.Tensor]:
        output = outputs[tensor.name]
        counter.advance()  # before, since a generator around the chunks would keep the last one a little longer
        if output.rearranged is None:
            return merged_chunks(output.base, output.delta, tensor.dtype, read)
        if tensor.name not in parts:
            parts.update(output.rearranged.merged(tensor.dtype, read))
        return iter([parts.pop(tensor.name)])

    parts: dict[str, torch.Tensor] = {}
    try:
        with counting(len(outputs), "matrix", "merging") as counter:
            safetensors_io.write_shards(folder, [output.target for output in merge_plan.outputs], chunks_of, limit)
    finally:
        base.close()
        adapter.close()


def _verify(merge_plan: MergePlan, folder: Path, *, trust: bool) -> None:
    """Read the folder again as transformers will, and compare it with what was to be written.

    Raises:
        FrameworkError: an expert has other matrices of the adapter than its own.
    """
    tensors, model, tensor_map = read_model(folder, trust=trust)
    expected = {output.target.name: (output.target.dtype, output.target.shape) for output in merge_plan.outputs}
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == expected  # noqa: S101 - ours to keep
    if merge_plan.base and (
        problem := experts_problem(merge_plan.base, ModelFiles(tensors, model, tensor_map), merge_plan.adapted)
    ):
        raise FrameworkError(problem)
