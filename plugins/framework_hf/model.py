"""A model that `trainer=hf` opened: encodes, answers, measures its loss, trains, saves and restores.

The weights are loaded when first needed, so data are checked before a byte of them is read or downloaded.
"""

from __future__ import annotations

import functools
import gc
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from bitsandbytes.nn import Linear4bit
from datasets import Dataset
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, PrinterCallback

from framework.errors import FrameworkError, one_line
from framework.plan import Plan
from framework.protocols import Adapter, ModelPlace, ModelSource, Quantization, TrainRun
from framework.records import Answer, Example, Prompt, TokenRow, TrainResult
from framework_hf import chat, hardware
from framework_hf.adapters import save_weights, weights, with_adapter
from framework_hf.config import Attention, HFTrainerConfig, Packing
from framework_hf.fast import install
from framework_hf.generate import generate
from framework_hf.losses import Losses, moved
from framework_hf.order import Order
from framework_hf.packing.admits import Way
from framework_hf.packing.parts import Packer
from framework_hf.tokenizer import load_tokenizer
from framework_hf.trainer import NUMBER, Collator, Progress, SupervisedTrainer, sft_config

CHUNK = 256
"""Rows among which the validation loss looks for common beginnings."""


def attention(config: HFTrainerConfig) -> str | None:
    """Return the attention implementation to ask transformers for; None leaves the choice to it."""
    return None if config.attention is Attention.auto else config.attention.value


class HFModel:
    """A base model with the adapter of the run, or a base model whose weights are all trained."""

    def __init__(
        self,
        plan: Plan,
        config: HFTrainerConfig,
        machine: hardware.Hardware,
        source: ModelSource,
        place: ModelPlace,
        way: Way,
    ) -> None:
        self.plan = plan
        self.config = config
        self.machine = machine
        self.source = source
        self.place = place
        self.way = way
        self.facts: Mapping[str, str] = machine.facts
        self.tokenizer = load_tokenizer(place, plan.model.config)
        self.trained = False
        self._model: Any = None
        self._losses: Losses | None = None

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token ids that end an answer: the tokenizer's and those of generation_config.json."""
        try:
            listed = transformers.GenerationConfig.from_pretrained(self.place.folder).eos_token_id
        except OSError:  # the file is optional
            listed = None
        ids = [*(listed if isinstance(listed, list) else [listed]), self.tokenizer.eos_token_id]
        return frozenset(number for number in ids if number is not None)

    @functools.cached_property
    def chat(self) -> chat.Chat:
        """The conversation as this model writes it."""
        settings = self.plan.model.config.chat_template_kwargs
        return chat.Chat(self.tokenizer, self.stop_ids, settings, last_turn_only=self.plan.data.config.mask_history)

    @property
    def encoding(self) -> str:
        """A hash over tokenizer, template and the code that masks."""
        return self.chat.key

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Tokenize, label and prove; see `chat.Chat.encode`."""
        return self.chat.encode(examples)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    @property
    def model(self) -> Any:
        """The model, loaded when first asked for; the adapter's first weights depend on the seed alone."""
        if self._model is None:
            transformers.set_seed(self.plan.seed)
            adapter: Adapter = self.plan.adapter.create()
            self._model = self._load(weights(self.source).folder, adapter.config())
        return self._model

    def _load(self, folder: Path, peft_config: Any) -> Any:
        # Full fine-tuning updates the weights themselves: in 16 bits small updates would round to nothing.
        dtype = torch.float32 if peft_config is None else self.machine.dtype
        quantization: Quantization = self.plan.quantization.create()
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            quantization_config=quantization.config(self.machine.dtype),
            attn_implementation=attention(self.config),
            device_map={"": self.machine.device},
            trust_remote_code=self.plan.model.config.trust_remote_code,
            use_safetensors=True,
        )
        if self.way.branches:
            install.use_branches(model)
        if peft_config is None:
            return model
        return with_adapter(model, peft_config, self.place, fast=self.way.fast)

    def _answering(self) -> Any:
        """Return the model in evaluation mode.

        On a CPU, bitsandbytes (seen in 0.50) repacks 4-bit weights for inference in their first call in evaluation
        mode, for good, and the product of repacked weights has no gradient: a training after a baseline would be
        silently wrong. 4-bit layers have no dropout, so that they stay in training mode changes nothing else.
        """
        model = self.model.eval()
        if self.machine.device == "cpu":
            for module in model.modules():
                if isinstance(module, Linear4bit):
                    module.training = True
        return model

    def as_base(self) -> Any:
        """Switch the adapter off for a while."""
        if isinstance(self.model, PeftModel):
            return self.model.disable_adapter()
        if self.trained:
            message = "full fine-tuning keeps no base: run the baseline before training"
            raise FrameworkError(message)
        return nullcontext()

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Answer greedily; see `generate.generate`."""
        model = self._answering()
        texts = [self.chat.prompt(prompt.messages, prompt.tools) for prompt in prompts]
        share = self.way.one_beginning
        return generate(model, self.tokenizer, texts, self.stop_ids, max_new_tokens, batch_size, share=share)

    @property
    def losses(self) -> Losses:
        """How losses of this model are computed, found out when first asked for."""
        model = self._answering()
        if self._losses is None or self._losses.model is not model:
            self._losses = Losses(model, self.way.packing, masked=not self.way.branches)
            if self._losses.problem:
                self.machine.facts["packing"] = f"{self._losses.packing.value} ({self._losses.problem})"
        return self._losses

    def _packer(self, losses: Losses, rows: int) -> Packer:
        on_cpu = self.machine.device == "cpu"
        return Packer(losses.packing, rows, self.pad_id, self.way.pair, masked=losses.masked, small=on_cpu)

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over the supervised tokens; rows of similar length or beginning share a pass."""
        losses = self.losses  # outside: weights loaded in inference mode could never be trained
        packer = self._packer(losses, self.config.per_device_eval_batch_size)
        total, count = 0.0, 0
        for start in range(0, len(rows), CHUNK):
            parts = packer([rows[number] for number in range(start, min(start + CHUNK, len(rows)))])
            with torch.inference_mode():
                total += sum(losses.sum(moved(part, self.machine.device)).item() for part in parts)
            count += parts[0]["count"]
        return total / count

    @property
    def pad_id(self) -> int:
        """The id that fills gaps; it is masked everywhere, so any would do."""
        return int(self.tokenizer.pad_token_id)

    def train(self, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun) -> TrainResult:
        """Train, and save the weights into `run.checkpoint`."""
        model = self.model
        config = self.config
        losses = self.losses
        if self.machine.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        step = config.per_device_train_batch_size * config.gradient_accumulation_steps
        packer = self._packer(losses, config.per_device_train_batch_size)
        trainer = SupervisedTrainer(
            losses,
            Order(rows, step, self.plan.seed, group=config.group_by_prefix, by_length=losses.packing is Packing.pad),
            model=model,
            args=sft_config(config, self.machine, self.plan.seed, str(run.scratch), autocast=not self.way.fast),
            # Rows stay on disk: the trainer is given their numbers, the collator reads them.
            train_dataset=Dataset.from_dict({NUMBER: range(len(rows))}),
            data_collator=Collator(rows, packer),
            processing_class=self.tokenizer,
        )
        trained = self._trainable()
        progress = Progress(trainer, run.on_step, lambda: self._validate(validation))
        trainer.remove_callback(PrinterCallback)  # the loggers of the run print
        trainer.add_callback(progress)
        outcome = trainer.train()
        seconds = progress.seconds
        self.trained = True
        # Out of the trainer's autocast again: answers before and after are computed alike.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        model.eval()
        save_weights(model, run.checkpoint)
        shutil.rmtree(run.scratch, ignore_errors=True)
        return TrainResult(
            steps=outcome.global_step,
            epochs=float(trainer.state.epoch),
            train_loss=float(outcome.training_loss),
            last_loss=progress.last_loss,
            seconds=seconds,
            tokens=trainer.tokens,
            supervised_tokens=trainer.supervised_tokens,
            trainable_parameters=trained,
            total_parameters=sum(parameter.numel() for parameter in model.parameters()),
            peak_memory_bytes=hardware.peak_memory(self.machine.device),
            checkpoint=run.checkpoint.name,
            computed_tokens=trainer.computed_tokens,
        )

    def _validate(self, validation: Sequence[TokenRow]) -> float | None:
        if not validation:
            return None
        loss = self.loss(validation)
        self.model.train()
        return loss

    def _trainable(self) -> int:
        """Count what will be trained, and make sure that with an adapter it is the adapter alone."""
        named = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        if isinstance(self.model, PeftModel):
            own = self.model.base_model.prefix  # of peft's tuner: "lora_" and the like
            stray = [name for name, _ in named if own not in name]
            if stray:
                message = f"weights of the base would be trained beside the adapter: {', '.join(stray[:3])}"
                raise RuntimeError(message)
            for _, weight in named:
                # TRL casts a QLoRA adapter to bf16: a loss of precision where the run computes in fp32, and no
                # gradient scaler where it computes in fp16.
                if self.machine.dtype is not torch.bfloat16:
                    weight.data = weight.data.float()
        return sum(weight.numel() for _, weight in named)

    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights of an earlier run.

        Raises:
            FrameworkError: they do not fit this base and adapter.
        """
        if not isinstance(self.model, PeftModel):
            self._model = self._load(checkpoint, None)
        else:
            try:
                set_peft_model_state_dict(self.model, load_peft_weights(str(checkpoint), device=self.machine.device))
            except (RuntimeError, ValueError, OSError) as error:
                message = f"{checkpoint} does not fit this model and adapter: {one_line(error)}"
                raise FrameworkError(message) from error
        self.trained = True

    def save_tokenizer(self, folder: Path) -> None:
        """Write tokenizer and chat template."""
        self.tokenizer.save_pretrained(folder)

    def close(self) -> None:
        """Free the memory, so that the next run of a sweep has it."""
        self._model = self._losses = None
        gc.collect()
        if self.machine.device == "cuda":
            torch.cuda.empty_cache()
