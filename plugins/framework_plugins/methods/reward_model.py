"""`reward=reward_model`: the score of a reward model for a conversation, read as TRL's trainers read one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from framework import FrameworkError
from framework.api import FunctionReward, Guard, is_out_of_memory
from framework_plugins.lib.weight_files import ADAPTER_CONFIG
from framework_plugins.methods.reward_config import RewardModelConfig, reward_folder

Turns = Sequence[Mapping[str, Any]]


def reward_model(config: RewardModelConfig) -> FunctionReward:
    """Make it; the weights are loaded with the first answers."""
    folder = reward_folder(config.path)

    def score(prompts: list[list[dict[str, Any]]], completions: list[list[dict[str, Any]]]) -> list[float]:
        conversations = [[*prompt, *answer] for prompt, answer in zip(prompts, completions, strict=True)]
        return _opened(folder.resolve())(conversations, config.batch_size)

    return FunctionReward(score, config)


@functools.lru_cache(maxsize=1)
def _opened(folder: Path) -> Callable[[Sequence[Turns], int], list[float]]:
    """Load a reward model, once for all who ask.

    Raises:
        FrameworkError: it gives more than one score, or cannot be loaded.
    """
    on_gpu = torch.cuda.is_available()
    kind: Any = AutoModelForSequenceClassification
    more = {}
    if (folder / ADAPTER_CONFIG).is_file():
        kind, more = AutoPeftModelForSequenceClassification, {"num_labels": 1}
    with Guard(f"{folder}: the reward model cannot be loaded", passes=is_out_of_memory):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        dtype = "auto" if on_gpu else torch.float32
        model = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, use_kernels=False, **more)
    if model.config.num_labels != 1:
        raise FrameworkError(f"{folder}: the model gives {model.config.num_labels} numbers, and a reward is one")
    model.eval().to("cuda" if on_gpu else "cpu")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id  # a score is read at the last other token

    def scores(conversations: Sequence[Turns], batch_size: int) -> list[float]:
        texts, values = tokenizer.apply_chat_template([*conversations], tokenize=False), list[float]()
        with torch.no_grad():
            for begin in range(0, len(texts), batch_size):
                batch = tokenizer(
                    texts[begin : begin + batch_size],
                    add_special_tokens=False,  # the chat template has written them
                    padding=True,
                    padding_side="right",
                    return_tensors="pt",
                ).to(model.device)
                logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
                values += logits[:, 0].float().tolist()
        return values

    return scores
