"""Options of `exporter=`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from annotated_types import Predicate

from framework.schema import ExporterConfig

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(size: str) -> int:
    """Return the bytes of a size as people write it, `5GB` or `512 MiB`; 0 where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", size.strip())
    return int(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0


def a_size(value: str) -> bool:
    """a size such as 5GB or 512MiB."""  # noqa: D403 - part of the sentence that an error tells
    return bytes_of(value) > 0


class Dtype(Enum):
    """The number format of weights."""

    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


@dataclass
class AdapterExporterConfig(ExporterConfig):
    """The trained weights with tokenizer, chat template and the config of the run, ready for peft or transformers."""

    folder: str = "adapter"
    """Name of the folder inside the run folder."""


@dataclass
class MergedExporterConfig(ExporterConfig):
    """The whole model in one folder, ready for transformers: the adapter merged into the base as it lies on disk."""

    folder: str = "merged"
    """Name of the folder inside the run folder."""
    dtype: Dtype = Dtype.auto
    """The number format of the weights; auto: as they lie on disk, the base's for an adapter."""
    max_shard_size: Annotated[str, Predicate(a_size)] = "5GB"
    """The largest file of weights; a model that is larger is spread over several."""
