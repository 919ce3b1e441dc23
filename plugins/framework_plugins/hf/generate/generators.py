"""What draws answers: the model itself, in batches or with the continuous batching of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import ContinuousBatchingConfig, GenerationConfig

from framework import FrameworkError
from framework.api import Prompt, count
from framework.api.training import Generator, Sampled, SamplingModel
from framework_plugins.hf.settings.rollouts import ContinuousRolloutConfig, ModelRolloutConfig


class OwnBatches:
    """Draws with the model itself; see `sample.py`."""

    def __init__(self, config: ModelRolloutConfig) -> None:
        del config

    def generator(self, model: SamplingModel) -> Generator:
        """Return what the model has."""
        return model.draw


class Continuous:
    """Draws with the model itself, by `generate_batch` of transformers."""

    def __init__(self, config: ContinuousRolloutConfig) -> None:
        self.config = config

    def generator(self, model: SamplingModel) -> Generator:
        """Return what draws; the model has its own attention again after each draw."""

        def draw(
            prompts: Sequence[Prompt],
            n: int,
            *,
            max_new_tokens: int,
            temperature: float,
            top_p: float,
            seed: int,
            first: int = 0,
        ) -> list[list[Sampled]]:
            settings = GenerationConfig(
                do_sample=True, temperature=temperature, top_p=top_p, top_k=0, max_new_tokens=max_new_tokens,
                eos_token_id=sorted(model.stop_ids), pad_token_id=model.tokenizer.pad_token_id,
            )  # fmt: skip
            batching = ContinuousBatchingConfig(
                return_logprobs=True, seed=(seed + first) % 2**63, max_memory_percent=self.config.max_memory_percent,
                auto_switch_to_flash=False,
            )  # fmt: skip
            starts = [start for start in map(model.prompt_ids, prompts) for _ in range(n)]
            given = model.model.generate_batch(
                starts, generation_config=settings, continuous_batching_config=batching, warmup=False
            )
            found = [each for each in given.values() if each.error is None]
            if len(found) < len(starts):
                errors = next((f": {each.error}" for each in given.values() if each.error), "")
                raise FrameworkError(
                    f"rollout=continuous: transformers gives {len(found)} of {count(len(starts), 'answer')}{errors}: "
                    "set a lower rollout.max_memory_percent, or rollout=model"
                )
            asked = [prompt for prompt in prompts for _ in range(n)]
            drawn = [
                model.sampled(prompt, each.generated_tokens, each.logprobs)
                for prompt, each in zip(asked, found, strict=True)
            ]
            return [drawn[start : start + n] for start in range(0, len(drawn), n)]

        return draw
