"""Answers that vLLM draws in the same process: its own copy of the base, and the adapter of each step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import vllm
from vllm.lora.request import LoRARequest

from framework.api import Prompt
from framework.api.training import Generator, Sampled, SamplingModel, SamplingParams
from framework_plugins.hf.settings.config import Dtype
from framework_plugins.hf.settings.rollouts import VllmRolloutConfig

NAMES = {Dtype.bf16: "bfloat16", Dtype.fp16: "float16", Dtype.fp32: "float32"}
"""What vLLM calls the number formats."""


class Vllm:
    """Draws with vLLM."""

    def __init__(self, config: VllmRolloutConfig) -> None:
        self.config = config

    def generator(self, model: SamplingModel) -> Generator:
        """Load the base once, in the number format of the training, and return what draws."""
        inner, asked = model.model, self.config.dtype
        dtype = str(inner.dtype).removeprefix("torch.") if asked is Dtype.auto else NAMES[asked]
        engine = vllm.LLM(
            model=inner.config.name_or_path, dtype=dtype, enable_lora=True,
            max_lora_rank=max(8, inner.peft_config["default"].r), logprobs_mode="processed_logprobs",
            gpu_memory_utilization=self.config.gpu_memory_utilization,
        )  # fmt: skip
        number = 0

        def draw(prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
            nonlocal number
            number += 1  # vLLM keeps the adapter of a number
            settings = [
                vllm.SamplingParams(
                    n=params.n, temperature=params.temperature, top_p=params.top_p, max_tokens=params.max_new_tokens,
                    logprobs=0, seed=(params.seed * 1_000_003 + params.first + place) % 2**31,
                    stop_token_ids=sorted(model.stop_ids),
                )
                for place in range(len(prompts))
            ]  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                model.save_adapter(Path(folder))
                asked = [{"prompt_token_ids": model.prompt_ids(prompt)} for prompt in prompts]
                request = LoRARequest(f"step-{number}", number, folder)
                outputs = engine.generate(asked, settings, lora_request=request, use_tqdm=False)
            return [
                [
                    model.sampled(
                        prompt, list(one.token_ids),
                        [known[token].logprob for token, known in zip(one.token_ids, one.logprobs, strict=True)],
                    )
                    for one in output.outputs
                ]
                for prompt, output in zip(prompts, outputs, strict=True)
            ]  # fmt: skip

        return draw
