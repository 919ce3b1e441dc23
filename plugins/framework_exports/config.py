"""Options of `exporter=`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Len, Predicate
from omegaconf import MISSING

from framework.schema import ExporterConfig

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

_NO_ID = re.compile(r"--|\.\.|(?:^|/)[-.]|[-.](?:$|/)|\.git$")
"""What the Hub does not take in the name of an owner or a repository."""


def bytes_of(size: str) -> int:
    """Return the bytes of a size as people write it, `5GB` or `512 MiB`; 0 where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", size.strip())
    return int(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0


def a_size(value: str) -> bool:
    """that is a size such as 5GB or 512MiB."""  # noqa: D403 - part of the sentence that an error tells
    return bytes_of(value) > 0


def is_repo_id(value: str) -> bool:
    """that is an id of the Hub, owner/name."""  # noqa: D403 - as above
    return re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", value) is not None and not _NO_ID.search(value)


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


@dataclass
class ModelCardExporterConfig(ExporterConfig):
    """README.md beside what the other exporters made: data, settings, results, use, licence, as the Hub reads it."""

    license: Annotated[str | None, Len(1)] = None
    """Identifier of the licence, such as apache-2.0. Default: that of the base, by its own card."""
    base_model: Annotated[str | None, Predicate(is_repo_id)] = None
    """Hub id of the base, where the run takes it from a folder."""
    datasets: list[Annotated[str, Predicate(is_repo_id)]] = field(default_factory=list)
    """Hub ids of the data, where the run takes them from files."""


@dataclass
class PushExporterConfig(ExporterConfig):
    """A repository on the Hugging Face Hub; the token comes from `hf auth login` or HF_TOKEN."""

    repo_id: Annotated[str, Predicate(is_repo_id)] = MISSING
    """The repository, owner/name. It is made where there is none."""
    what: Annotated[list[str], Len(1)] = field(default_factory=lambda: ["adapter"])
    """Exporters whose artifacts are pushed: adapter, merged, gguf… One lies at the top, several in their folders."""
    private: bool = True
    """Make a private repository, and push into none that is public."""
    dry_run: bool = False
    """Show the files and their sizes instead of pushing them."""
