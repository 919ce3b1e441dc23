"""The options of `reward=` that are reward functions of TRL; their settings have the names of TRL's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Le, Len
from omegaconf import MISSING

from framework import FrameworkError
from framework.api import RewardConfig, RunFolder
from framework_plugins.lib.model_settings import read_adapter_config, read_settings
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, read_headers


@dataclass
class AccuracyConfig(RewardConfig):
    """1 if the mathematics of the answer, in LaTeX, equals the field `solution` of the row (TRL: accuracy_reward)."""


@dataclass
class ReasoningAccuracyConfig(RewardConfig):
    """The same for what comes after `</think>`, and 0 if thoughts do not end (TRL: reasoning_accuracy_reward)."""


@dataclass
class CosineScaledConfig(RewardConfig):
    """`accuracy`, where short right answers and long wrong ones get more (TRL: get_cosine_scaled_reward)."""

    max_len: Annotated[int, Gt(0)] = MISSING
    """Tokens from which an answer counts as the longest."""
    min_value_wrong: float = -1.0
    """Reward of the shortest wrong answer."""
    max_value_wrong: float = -0.5
    """Reward of the longest wrong answer."""
    min_value_correct: float = 0.5
    """Reward of the longest right answer."""
    max_value_correct: float = 1.0
    """Reward of the shortest right answer."""


@dataclass
class ThinkFormatConfig(RewardConfig):
    """1 if an answer has its thoughts between `<think>` and `</think>`, once (TRL: think_format_reward)."""


@dataclass
class RepetitionPenaltyConfig(RewardConfig):
    """Takes off for n-grams of tokens that repeat (TRL: get_repetition_penalty_reward)."""

    ngram_size: Annotated[int, Gt(0)] = 3
    """Tokens of an n-gram."""
    max_penalty: Annotated[float, Le(0)] = -1.0
    """Reward of an answer that only repeats."""


@dataclass
class SoftOverlongConfig(RewardConfig):
    """Takes off for answers that come near a limit, as DAPO does (TRL: get_soft_overlong_punishment)."""

    max_completion_len: Annotated[int, Gt(0)] = MISSING
    """Tokens from which an answer gets -1."""
    soft_punish_cache: Annotated[int, Gt(0)] = MISSING
    """Tokens before the limit from which an answer gets less than 0."""


@dataclass
class RewardModelConfig(RewardConfig):
    """The score of a reward model."""

    path: Annotated[str, Len(1)] = MISSING
    """Its folder: of a run, an adapter or a whole model."""
    batch_size: Annotated[int, Gt(0)] = 8
    """Answers in one pass."""

    def held_bytes(self, *, on_gpu: bool) -> float:
        """Return the bytes of its weights, on a CPU in fp32; a base that is not on this machine is left out."""
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - a tenth of a second

        folder = reward_folder(self.path)
        folders = [folder]
        if (folder / ADAPTER_CONFIG).is_file():
            base = str(read_adapter_config(folder).get("base_model_name_or_path"))
            cached = None if Path(base).is_dir() else try_to_load_from_cache(base, "config.json")
            folders.append(Path(cached).parent if isinstance(cached, str) else Path(base))
        files = [file for place in folders if place.is_dir() for file in place.glob("*.safetensors")]
        return sum(tensor.bytes if on_gpu else 4.0 * math.prod(tensor.shape) for tensor in read_headers(files).values())


def reward_folder(path: str) -> Path:
    """Return the folder of a model that gives scores.

    Raises:
        FrameworkError: there is none.
    """
    for folder in (Path(path, "adapter"), Path(path, RunFolder.CHECKPOINT), Path(path)):
        for file, of_scores in ((folder / ADAPTER_CONFIG, _is_scoring_adapter), (folder / "config.json", _is_scoring)):
            if file.is_file():
                if not of_scores(read_settings(file, str(file))):
                    raise FrameworkError(
                        "the model in this folder gives no scores: train one with trainer=trl "
                        "trainer.trl_class=RewardTrainer method=dpo"
                    )
                return folder
    raise FrameworkError(
        f"neither {ADAPTER_CONFIG} nor config.json is in this folder: give that of a run or of a model"
    )


def _is_scoring_adapter(settings: Any) -> bool:
    return bool(settings.get("task_type") == "SEQ_CLS")


def _is_scoring(settings: Any) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in settings.get("architectures") or ())
