"""The reward functions that come with TRL, as options of `reward=`."""

from __future__ import annotations

from framework.api import FunctionReward
from framework_plugins.methods.reward_config import (
    AccuracyConfig,
    CosineScaledConfig,
    ReasoningAccuracyConfig,
    RepetitionPenaltyConfig,
    SoftOverlongConfig,
    ThinkFormatConfig,
)


def accuracy(config: AccuracyConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import accuracy_reward  # noqa: PLC0415 - each of them may need another library

    return FunctionReward(accuracy_reward, config)


def reasoning_accuracy(config: ReasoningAccuracyConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import reasoning_accuracy_reward  # noqa: PLC0415 - as above

    return FunctionReward(reasoning_accuracy_reward, config)


def cosine_scaled(config: CosineScaledConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import get_cosine_scaled_reward  # noqa: PLC0415 - as above

    limits = (config.min_value_wrong, config.max_value_wrong, config.min_value_correct, config.max_value_correct)
    return FunctionReward(get_cosine_scaled_reward(config.max_len, *limits), config)


def think_format(config: ThinkFormatConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import think_format_reward  # noqa: PLC0415 - as above

    return FunctionReward(think_format_reward, config)


def repetition_penalty(config: RepetitionPenaltyConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import get_repetition_penalty_reward  # noqa: PLC0415 - as above

    return FunctionReward(get_repetition_penalty_reward(config.ngram_size, config.max_penalty), config)


def soft_overlong(config: SoftOverlongConfig) -> FunctionReward:
    """Make it."""
    from trl.rewards import get_soft_overlong_punishment  # noqa: PLC0415 - as above

    return FunctionReward(get_soft_overlong_punishment(config.max_completion_len, config.soft_punish_cache), config)
