"""How the tensors of a folder are called in the model that transformers makes of it.

Files keep the names that a model had when they were written; transformers renames some when it loads them, and puts
several into one where it computes with them together. An adapter knows only the names in the model. The model is made
without memory for its weights, and transformers' own table is asked.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)
from transformers.pytorch_utils import Conv1D

from framework import FrameworkError
from framework.api import summarize_error
from framework_plugins.lib.auto_class import published_class


@dataclass(frozen=True)
class Group:
    """Tensors of files that transformers takes together: experts that it stacks, or a matrix that it cuts.

    Attributes:
        files: their names in the files.
        weights: names in the model of what it makes of them.
        whole: every number of the files is in a weight.
    """

    files: tuple[str, ...]
    weights: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class TensorMap:
    """Which tensors of files are which weights of the model.

    Attributes:
        one_to_one: names in the files, by names in the model.
        groups: the tensors that are not one to one.
        unused: names in the files that the model does not have.
        missing: names in the model that the files do not have.
    """

    one_to_one: Mapping[str, str]
    groups: list[Group]
    unused: list[str]
    missing: list[str]


class MetaModel:
    """The model of a folder, in the class that config.json names, built without memory: names and shapes of weights.

    Args:
        folder: holds a config.json.
        trust_remote_code: whether code beside it may be run.

    Raises:
        FrameworkError: transformers makes no language model of it.
    """

    def __init__(self, folder: Path, *, trust_remote_code: bool) -> None:
        self.folder = folder
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            with torch.device("meta"):
                self.model = published_class(transformers, config.to_dict()).from_config(
                    config, trust_remote_code=trust_remote_code
                )
        except (ValueError, OSError, KeyError, ImportError) as error:
            raise FrameworkError(
                f"{folder}/config.json does not describe a language model: {summarize_error(error)}"
            ) from error
        self.state_dict = self.model.state_dict()
        table = get_model_conversion_mapping(self.model)
        self._renamings = [entry for entry in table if isinstance(entry, WeightRenaming)]
        self._converters = [entry for entry in table if isinstance(entry, WeightConverter)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a weight by its name in the model."""
        return tuple(self.state_dict[name].shape)

    def stored(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors in the files that transformers writes of this model, by name."""
        tied = self.tied
        weights = {name: weight for name, weight in self.state_dict.items() if name not in tied}
        return {name: tuple(weight.shape) for name, weight in revert_weight_conversion(self.model, weights).items()}

    def renamed(self, name: str) -> tuple[str, bool]:
        """Return what a tensor of a file is called in the model, and whether others go into the same weight."""
        renamed, pattern = self._source(name)
        if renamed not in self.state_dict and name in self.state_dict:
            return name, False
        return renamed, pattern is not None

    def _source(self, name: str) -> tuple[str, Any]:
        """Return what a tensor of a file is called in the model, and its pattern in the table of conversions."""
        prefix = self.model.base_model_prefix
        source: tuple[str, Any] = rename_source_key(name, self._renamings, self._converters, prefix, self.state_dict)
        return source

    def map_tensors(self, stored: Mapping[str, tuple[int, ...]]) -> TensorMap:
        """Map the tensors of files, given with their shapes, to the weights of the model.

        Raises:
            FrameworkError: two tensors are the same weight, or transformers cannot make weights of some.
        """
        single: dict[str, str] = {}
        fused: dict[str, list[str]] = {}
        unused = []
        for name in stored:
            renamed, converted = self.renamed(name)
            if renamed not in self.state_dict:
                unused.append(name)
            elif converted:
                fused.setdefault(renamed, []).append(name)
            elif renamed in single:
                raise FrameworkError(f"{self.folder} holds {renamed} twice, as {single[renamed]} and as {name}")
            else:
                single[renamed] = name
        groups = []
        for names in fused.values():
            sources = {name: torch.empty(stored[name], device="meta") for name in names}
            weights = self.rearrange(sources)
            complete = sum(map(torch.numel, sources.values())) == sum(map(torch.numel, weights.values()))
            groups.append(Group(tuple(names), tuple(weights), complete))
        present = {*single, *(name for group in groups for name in group.weights)}
        tied = {name for pair in self.tied.items() if present & set(pair) for name in pair}
        return TensorMap(single, groups, unused, [name for name in self.state_dict if name not in present | tied])

    def rearrange(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights that transformers makes of tensors of files which it takes together, a `Group`.

        Raises:
            FrameworkError: they do not fit together.
        """
        names = sorted(tensors, key=dot_natural_key)
        sources = {name: self._source(name) for name in names}
        target, pattern = sources[names[0]]
        converter = copy.deepcopy(
            next(converter for converter in self._converters if pattern in converter.source_patterns)
        )
        try:
            for name, (_, source_pattern) in sources.items():
                converter.add_tensor(target, name, source_pattern, tensors[name])
            weights = converter.convert(target, model=self.model, config=self.model.config)
        except (ValueError, RuntimeError, KeyError, IndexError, AttributeError) as error:
            raise FrameworkError(
                f"{self.folder}: transformers makes no weight of {names[0]}: {summarize_error(error)}"
            ) from error
        return {name: weight[0] if isinstance(weight, list) else weight for name, weight in weights.items()}

    @property
    def tied(self) -> Mapping[str, str]:
        """Names of weights that are others at the same time: the output head that is the embedding."""
        tied: Mapping[str, str] = self.model.all_tied_weights_keys
        return tied

    @property
    def embedding(self) -> str:
        """The name of the embedding's weight."""
        return self._weight_name(self.model.get_input_embeddings())

    @property
    def head(self) -> str:
        """The name of the output head's weight; empty if there is none."""
        return self._weight_name(self.model.get_output_embeddings())

    def _weight_name(self, target: nn.Module | None) -> str:
        return next((f"{name}.weight" for name, module in self.model.named_modules() if module is target), "")

    def transposed(self, name: str) -> bool:
        """Whether a weight is stored inputs first, as an embedding and GPT-2's layers are: tokens are inputs."""
        module = self.model.get_submodule(name.rpartition(".")[0])
        return isinstance(module, nn.Embedding | Conv1D) or bool(getattr(module, "is_transposed", False))

    def experts(self, name: str) -> int:
        """Return how many matrices a weight holds, one for each expert; 0 if it is one matrix."""
        shape = self.shape(name)
        return shape[0] if len(shape) == 3 else 0  # noqa: PLR2004

    def place_in_fused(self, name: str) -> tuple[int, int] | None:
        """Return which expert a tensor of a file is in the weight that holds all, and the number of its rows' part.

        None if the weight is put together in another way than expert after expert, part after part.
        """
        renamed, pattern = self._source(name)
        converter = next((candidate for candidate in self._converters if pattern in candidate.source_patterns), None)
        expert = re.search(r"\.(\d+)\.(?!.*\.\d+\.)", name)
        if converter is None or expert is None or renamed not in self.state_dict:
            return None
        steps = [(type(step), getattr(step, "dim", None)) for step in converter.operations]
        if steps not in ([(MergeModulelist, 0)], [(MergeModulelist, 0), (Concatenate, 1)]):
            return None
        return int(expert[1]), converter.source_patterns.index(pattern)
