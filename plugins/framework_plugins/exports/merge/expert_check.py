"""Whether each expert of a merged model has its own matrices of the adapter.

The files are read again, put together by transformers as it loads them, and compared expert by expert with the base and
the matrices that peft has for that expert. It needs the memory of a layer's experts, where the comparison of answers
needs the whole model a second time, which few mixtures leave room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from framework.api import counting
from framework_plugins.exports.merge.tensor_names import MetaModel, TensorMap
from framework_plugins.exports.merge.weight_delta import LowRank, TensorReader
from framework_plugins.lib import experts
from framework_plugins.lib.weight_files import StoredTensor

TOLERANCE = 1e-4
"""How far an expert may be from the expected one, as a share of its size: sums in another order round differently."""


@dataclass(frozen=True)
class ModelFiles:
    """The tensors of a model in files, and the weights that transformers makes of them."""

    tensors: Mapping[str, StoredTensor]
    model: MetaModel
    tensor_map: TensorMap

    def weight(self, name: str, read: TensorReader) -> torch.Tensor:
        """Return a weight by its name in the model."""
        if (file := self.tensor_map.one_to_one.get(name)) is not None:
            return read(self.tensors[file])
        group = next(group for group in self.tensor_map.groups if name in group.weights)
        return self.model.rearrange({file: read(self.tensors[file]) for file in group.files})[name]


def experts_problem(base: ModelFiles, merged: ModelFiles, adapted: Mapping[str, LowRank]) -> str:
    """Name the experts of a merged model that are not the base's with their own matrices; empty if all are.

    Args:
        base: before the merge.
        merged: what was written.
        adapted: the matrices of the adapter, by the names of the weights that hold experts.
    """
    wrong, readers = {}, [TensorReader() for _ in range(3)]
    try:
        with counting(len(adapted), "matrix", "comparing experts") as counter:
            for name, low_rank in adapted.items():
                before, after = (files.weight(name, read) for files, read in zip((base, merged), readers, strict=False))
                a, b = (readers[2](part).float() for part in (low_rank.lora_a, low_rank.lora_b))
                numbers = []
                for expert, (left, right) in enumerate(experts.matrices(a, b, low_rank.experts)):
                    delta = low_rank.scaling * (right @ left)
                    expected = before[expert].float() + (delta.mT if low_rank.transposed else delta)
                    rounded = expected.to(after.dtype).float()
                    limit = experts.tolerance(TOLERANCE, expected.numel()) * rounded.norm()
                    if not (after[expert].float() - rounded).norm() <= limit:
                        numbers.append(expert)
                if numbers:
                    wrong[name] = numbers
                counter.advance()
    finally:
        for reader in readers:
            reader.close()
    return experts.problem(wrong, len(adapted), "experts are not those of the base and the adapter")
