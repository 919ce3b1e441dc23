"""Options of `logger=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt, Len, Predicate

from framework.api import LoggerConfig, plain_name


def is_log_name(value: str) -> bool:
    """that ends in .jsonl, of at most 128 bytes, without slashes or control characters."""  # noqa: D403 - part of the sentence that an error tells
    return value.endswith(".jsonl") and plain_name(value)  # no other file of a run ends so


class WandbMode(Enum):
    """Where W&B writes; auto is online with a key and a network, else offline."""

    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass
class ConsoleConfig(LoggerConfig):
    """The terminal: plan, progress, answers side by side, closing table, verdict."""

    samples: Annotated[int, Ge(0)] = 2
    """How many prompts to show with the answers before and after."""
    details: bool = False
    """Also print what report.html has: parts of the memory, lengths, notes, whole answers, numbers of the verdict."""


@dataclass
class JsonlConfig(LoggerConfig):
    """A file in the run folder with one JSON object per line."""

    file: Annotated[str, Predicate(is_log_name)] = "log.jsonl"
    """Name of the file inside the run folder; it ends in .jsonl."""


@dataclass
class WandbConfig(LoggerConfig):
    """Weights & Biases. If it fails, the run continues."""

    project: Annotated[str, Len(1)] = "framework"
    """The project."""
    entity: str | None = None
    """The team or user. Default: that of the key."""
    group: str | None = None
    """Groups runs. Default: the trials of a sweep are in one group, named after its folder."""
    run_name: str | None = None
    """Default: the name and time of the run folder."""
    tags: list[str] = field(default_factory=list)
    """Tags to filter runs by."""
    notes: str | None = None
    """A sentence on what this run is for."""
    answers: Annotated[int, Ge(0)] = 100
    """How many prompts go into the table of answers, from the first. 0 leaves the table out."""
    log_adapter: bool = False
    """Upload the trained weights as an artifact: the exported adapter if there is one, else the checkpoint."""
    mode: WandbMode = WandbMode.auto
    """auto, online or offline. auto also follows WANDB_MODE and W&B's own settings."""
    init_timeout: Annotated[float, Gt(0)] = 8.0
    """Seconds to wait for the server before the run continues offline."""
    finish_timeout: Annotated[float, Gt(0)] = 60.0
    """Seconds to wait at the end for the upload. The rest stays on disk, with the command that uploads it."""


@dataclass
class TensorBoardConfig(LoggerConfig):
    """TensorBoard event files: curves, config, answers, verdict."""

    folder: Annotated[str, Len(1)] = "tensorboard"
    """Folder of the event files: a name inside the run folder, or an absolute path."""
    answers: Annotated[int, Ge(0)] = 100
    """How many prompts go into the table of answers, from the first. 0 leaves the table out."""


@dataclass
class MlflowConfig(LoggerConfig):
    """MLflow: a folder on this machine, a database or a tracking server. If it fails, the run continues."""

    tracking_uri: str | None = None
    """A folder, `sqlite:///FILE`, or the address of a server. Default: MLFLOW_TRACKING_URI, else the folder mlruns."""
    experiment: Annotated[str, Len(1)] = "framework"
    """The experiment."""
    run_name: str | None = None
    """Default: the name and time of the run folder."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags by their names. The trials of a sweep also have the tag `sweep`."""
    answers: Annotated[int, Ge(0)] = 100
    """How many prompts go into the table of answers, from the first. 0 leaves the table out."""
    log_adapter: bool = False
    """Store the trained weights as an artifact: the exported adapter if there is one, else the checkpoint."""
    timeout: Annotated[int, Gt(0)] = 8
    """Seconds to wait for the server, at most twice; then the logger is switched off."""
