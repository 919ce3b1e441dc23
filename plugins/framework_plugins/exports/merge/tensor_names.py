"""How the tensors of a folder are called in the model that transformers makes of it.

Files keep the names that a model had when they were written; transformers renames some when it loads them, and puts
several into one where it computes with them together. An adapter knows the names in the model alone. The model is made
without memory for its weights, and transformers' own table is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.pytorch_utils import Conv1D

from framework.api.errors import FrameworkError
from framework.api.text import summarize_error


@dataclass(frozen=True)
class Places:
    """Where the weights of a model lie: names in files by names in the model, each by itself or together with others.

    `others` are in the files and not in the model; `missing` the other way round.
    """

    single: Mapping[str, str]
    together: Mapping[str, list[str]]
    others: list[str]
    missing: list[str]


class Names:
    """The names in the model of a folder.

    Args:
        folder: holds a config.json.
        trust_remote_code: whether code beside it may be run.

    Raises:
        FrameworkError: transformers makes no causal language model of it.
    """

    def __init__(self, folder: Path, *, trust_remote_code: bool) -> None:
        self.folder = folder
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            with torch.device("meta"):
                self.model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        except (ValueError, OSError, KeyError, ImportError) as error:
            raise FrameworkError(
                f"{folder}/config.json does not describe a causal language model: {summarize_error(error)}"
            ) from error
        self.empty = self.model.state_dict()
        table = get_model_conversion_mapping(self.model)
        self._renamings = [entry for entry in table if isinstance(entry, WeightRenaming)]
        self._converters = [entry for entry in table if isinstance(entry, WeightConverter)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a weight by its name in the model."""
        return tuple(self.empty[name].shape)

    def in_model(self, name: str) -> tuple[str, bool]:
        """Return what a tensor of a file is called in the model, and whether others go into the same weight."""
        prefix = self.model.base_model_prefix
        renamed, pattern = rename_source_key(name, self._renamings, self._converters, prefix, self.empty)
        if renamed not in self.empty and name in self.empty:
            return name, False
        return renamed, pattern is not None

    def places(self, stored: Iterable[str]) -> Places:
        """Say where the weights of the model are among the tensors of files.

        Raises:
            FrameworkError: two tensors are the same weight.
        """
        single: dict[str, str] = {}
        together: dict[str, list[str]] = {}
        others = []
        for name in stored:
            renamed, converted = self.in_model(name)
            if renamed not in self.empty:
                others.append(name)
            elif converted:
                together.setdefault(renamed, []).append(name)
            elif renamed in single:
                raise FrameworkError(f"{self.folder} holds {renamed} twice, as {single[renamed]} and as {name}")
            else:
                single[renamed] = name
        there = single.keys() | together.keys()
        tied = {one for pair in self.tied.items() if there & set(pair) for one in pair}
        return Places(single, together, others, [name for name in self.empty if name not in there | tied])

    @property
    def tied(self) -> Mapping[str, str]:
        """Names of weights that are others at the same time: the output head that is the embedding."""
        tied: Mapping[str, str] = self.model.all_tied_weights_keys
        return tied

    @property
    def embedding(self) -> str:
        """The name of the embedding's weight."""
        return self._name_of(self.model.get_input_embeddings())

    @property
    def head(self) -> str:
        """The name of the output head's weight; empty if there is none."""
        return self._name_of(self.model.get_output_embeddings())

    def _name_of(self, target: nn.Module | None) -> str:
        return next((f"{name}.weight" for name, module in self.model.named_modules() if module is target), "")

    def transposed(self, name: str) -> bool:
        """Whether a weight is stored inputs first, as an embedding and GPT-2's layers are: tokens are inputs."""
        return isinstance(self.model.get_submodule(name.rpartition(".")[0]), nn.Embedding | Conv1D)
