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
        inner, dtype_setting = model.model, self.config.dtype
        dtype = str(inner.dtype).removeprefix("torch.") if dtype_setting is Dtype.auto else NAMES[dtype_setting]
        engine = vllm.LLM(
            model=inner.config.name_or_path, dtype=dtype, enable_lora=True,
            max_lora_rank=max(8, inner.peft_config["default"].r), logprobs_mode="processed_logprobs",
            gpu_memory_utilization=self.config.gpu_memory_utilization,
        )  # fmt: skip
        adapter_id = 0

        def draw(prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
            nonlocal adapter_id
            adapter_id += 1  # vLLM keeps the adapter of a number
            settings = [
                vllm.SamplingParams(
                    n=params.n, temperature=params.temperature, top_p=params.top_p, max_tokens=params.max_new_tokens,
                    logprobs=0, seed=(params.seed * 1_000_003 + params.first + index) % 2**31,
                    stop_token_ids=sorted(model.stop_ids),
                )
                for index in range(len(prompts))
            ]  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                model.save_adapter(Path(folder))
                inputs = [{"prompt_token_ids": model.prompt_ids(prompt)} for prompt in prompts]
                request = LoRARequest(f"step-{adapter_id}", adapter_id, folder)
                outputs = engine.generate(inputs, settings, lora_request=request, use_tqdm=False)
            return [
                [
                    model.sampled(
                        prompt, list(completion.token_ids),
                        [
                            candidates[token].logprob
                            for token, candidates in zip(completion.token_ids, completion.logprobs, strict=True)
                        ],
                    )
                    for completion in output.outputs
                ]
                for prompt, output in zip(prompts, outputs, strict=True)
            ]  # fmt: skip

        return draw
