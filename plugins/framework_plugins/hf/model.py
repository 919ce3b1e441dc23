"""A model that `trainer=hf` opened: encodes, answers, measures its loss, trains, saves and restores.

The weights are loaded when first needed, so data are checked before a byte of them is read or downloaded.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel

from framework.api.backend import Shape, estimate
from framework.api.data import set_of
from framework.api.errors import FrameworkError
from framework.api.files import key_of
from framework.api.machine import GIB
from framework.api.plan import Plan
from framework.api.process_group import member
from framework.api.protocols import ModelPlace, ModelSource, TrainRun
from framework.api.records import Answer, Example, Prompt, Scored, TextForm, TokenRow, TrainResult
from framework.api.registry import counting, shared_cache
from framework.api.schema import THINKING_SWITCHES, Thinking
from framework_plugins.hf.generate.generate import complete
from framework_plugins.hf.generate.stream import sampler, stream
from framework_plugins.hf.load.adapters import restore_adapter, trained_config, weights
from framework_plugins.hf.load.base_key import base_key
from framework_plugins.hf.load.loading import load, without_weights
from framework_plugins.hf.load.model_settings import positions
from framework_plugins.hf.load.tokenizer import load_tokenizer, set_padding, stop_ids, text_form
from framework_plugins.hf.load.weight_files import check_files
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.precision import answering
from framework_plugins.hf.packing.eligibility import Way
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.resume.checkpoints import Checkpoints
from framework_plugins.hf.score import scoring
from framework_plugins.hf.score.divergence import FromBase
from framework_plugins.hf.score.evaluation import Evaluation, longest
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.settings.memory_plan import decides_checkpointing, footprint
from framework_plugins.hf.tokens import chat, template_switches
from framework_plugins.hf.tokens.template_limits import check_template
from framework_plugins.hf.train.oom_retry import Batches, oom_retry
from framework_plugins.hf.train.passes import Passes
from framework_plugins.hf.train.progress import Validation
from framework_plugins.hf.train.retry import Randomness
from framework_plugins.hf.train.training import Training

SHOWN = "shown"
"""Key in the shared cache: the test results of a model with such an adapter, and how large a pass fits."""


class HFModel:
    """A base model with the adapter of the run, or a base model whose weights are all trained.

    Attributes:
        losses: computes the losses of the loaded model.
        checked: whether the weights were here, and whole, when it was opened.
        vocabulary: tokens that the model has; the tokenizer may have fewer, or more that no text becomes.
        stop_ids: the token ids that end an answer, see `tokenizer.stop_ids`.
    """

    losses: type[Losses] = Losses

    def __init__(
        self,
        plan: Plan,
        config: HFTrainerConfig,
        machine: hardware.Hardware,
        source: ModelSource,
        place: ModelPlace,
        way: Way,
        *,
        checked: bool,
        vocabulary: int,
    ) -> None:
        self.plan = plan
        self.checked = checked
        self.vocabulary = vocabulary
        self.config = config
        self.machine = machine
        self.source = source
        self.place = place
        self.way = way
        self.facts: Mapping[str, str] = machine.facts
        weights = plan.external_checkpoint
        own = weights is not None and (weights / "tokenizer.json").is_file()
        tokenizer_place = ModelPlace(weights, str(weights)) if weights and own else place
        self.tokenizer = load_tokenizer(tokenizer_place, plan.model.config)
        settings = plan.model.config
        check_template(self.tokenizer, settings.template_switches, settings.chat_template or f"model {place.name}")
        self._think()
        self.stop_ids = stop_ids(place, self.tokenizer)
        set_padding(self.tokenizer, self.stop_ids)
        if appended := self.chat.appended:
            machine.facts["last answers"] = f"{appended} is appended: the chat template writes no stop token"
        self.trained = False
        self.oom_retry = oom_retry(plan, config, machine.facts)
        self._answers = Batches(self.oom_retry, "answering", "evaluator.prompts.max_new_tokens")
        self._model: Any = None
        self._evaluation: Evaluation | None = None
        self._from_base = FromBase()
        self._shown = ""

    def _think(self) -> None:
        """Say which switches `model.thinking` sets.

        Raises:
            FrameworkError: the template reads none of them.
        """
        settings = self.plan.model.config
        if settings.thinking is Thinking.auto:
            return
        read = template_switches.names(self.tokenizer)
        set_here = [name for name in read if name in THINKING_SWITCHES]
        if not set_here:
            has = f"; its switches are {', '.join(read)}, set with model.chat_template_kwargs" if read else ""
            raise FrameworkError(
                f"model.thinking={settings.thinking.value}: the chat template of model {self.place.name} reads neither "
                f"{' nor '.join(THINKING_SWITCHES)}{has}: leave model.thinking=auto"
            )
        values = ", ".join(f"{name}={str(settings.template_switches[name]).lower()}" for name in set_here)
        self.machine.facts["thinking"] = f"{settings.thinking.value} ({values} in the chat template)"

    @functools.cached_property
    def chat(self) -> chat.Chat:
        """The conversation as this model writes it."""
        settings = self.plan.model.config.template_switches
        return chat.Chat(self.tokenizer, self.stop_ids, settings, learn=self.plan.data.config.learn)

    @property
    def encoding(self) -> str:
        """A hash over tokenizer, template and the code that masks."""
        return self.chat.key

    @property
    def base_key(self) -> str:
        """A hash over all that the base's answers depend on; see `base_key.base_key`."""
        return base_key(self.plan, self.machine.facts, self.way, self.place.folder, self.encoding)

    @property
    def positions(self) -> int | None:
        """The most tokens of a row, by config.json."""
        return positions(self.source.config_json())

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Tokenize, label and prove; see `chat.Chat.encode`.

        Raises:
            FrameworkError: a text becomes a token that the model does not have.
        """
        rows = self.chat.encode(examples)
        for row in rows:
            if row.input_ids and (largest := max(row.input_ids)) >= self.vocabulary:
                raise FrameworkError(
                    f"{row.where}: the tokenizer turns the text into token {largest}, and model {self.place.name} "
                    f"has {self.vocabulary} tokens: restore its tokenizer.json"
                )
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    @property
    def model(self) -> Any:
        """The model, loaded when first asked for; the adapter's first weights depend on the seed alone."""
        if self._model is None:
            transformers.set_seed(self.plan.seed)
            with counting(None, "", "loading the weights"):
                self._model = self.load(self.weights(), trained_config(self.plan))
        return self._model

    def weights(self) -> Path:
        """Bring the weights of the base to this machine and return their folder.

        Raises:
            FrameworkError: there are none, or not those of the model.
        """
        place = weights(self.source)
        if not self.checked:
            empty = without_weights(place, self.config, trust=self.plan.model.config.trust_remote_code)
            check_files(place, empty, values=True)
        return place.folder

    def load(self, folder: Path, peft_config: Any) -> Any:
        """Load weights, put what is trained on them, and return the model; see `loading.load`."""
        return load(self.plan, self.config, self.machine, self.place, self.way, folder, peft_config)

    def _answering(self) -> Any:
        """Return the model in evaluation mode."""
        return answering(self.model, self.machine.device)

    def as_base(self) -> AbstractContextManager[None]:
        """Switch the adapter off for a while."""
        if isinstance(self.model, PeftModel):
            context: AbstractContextManager[None] = self.model.disable_adapter()
            return context
        if self.trained:
            raise FrameworkError("full fine-tuning keeps no base: it can be asked only before the training")
        return nullcontext()

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        starts = [self.tokenize(self.render(prompt)) for prompt in prompts]
        return self.complete(starts, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Continue rows of token ids greedily; see `generate.complete`."""
        return complete(
            self._answering(), self.tokenizer, list(map(list, starts)), self.stop_ids, max_new_tokens, batch_size,
            share=self.way.one_beginning, batches=self._answers,
        )  # fmt: skip

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer one prompt, and give the text as it comes; see `stream.stream`."""
        ids, choose = self.tokenize(self.render(prompt)), sampler(temperature, top_p, seed)
        return stream(self._answering(), self.tokenizer, ids, self.stop_ids, max_new_tokens, choose)

    def render(self, prompt: Prompt) -> str:
        """Write a prompt as the chat template does, with the opening of the assistant's turn."""
        return self.chat.prompt(prompt.messages, prompt.tools)

    def tokenize(self, text: str) -> list[int]:
        """Return token ids; the template's own BOS stands in the text, so none is added."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @functools.cached_property
    def text_form(self) -> TextForm:
        """How it reads plain text; see `tokenizer.text_form`."""
        return text_form(self.tokenizer, self.model.config)

    @property
    def evaluation(self) -> Evaluation:
        """How losses of this model are computed, found out when first asked for; the model is in evaluation mode."""
        model = self._answering()
        if self._evaluation is None or self._evaluation.passes.losses.model is not model:
            adapter = self.plan.adapter
            named = adapter.component.name, adapter.settings
            self._shown = key_of(self.base_key, *named) if self.base_key else ""
            probe, largest = shared_cache().find(SHOWN, self._shown) or (None, 0)
            losses = self.losses(model, self.way.packing, masked=not self.way.branches, found=probe)
            if losses.fallback:
                self.machine.facts["packing"] = losses.fallback
            if losses.auxiliary:
                self.machine.facts["auxiliary loss"] = losses.auxiliary
            passes = Passes(self.packer(losses, self.config.per_device_eval_batch_size), losses)
            self._evaluation = Evaluation(passes, self.oom_retry, self.machine.device)
            self._evaluation.largest = largest
        return self._evaluation

    def packer(self, losses: Losses, rows: int) -> Packer:
        """Return what cuts rows into passes of at most `rows` rows."""
        on_cpu = self.machine.device == "cpu"
        return Packer(losses.packing, rows, self.pad_id, self.way.pair, masked=losses.masked, small=on_cpu)

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over the supervised tokens."""
        return self.evaluation.loss(rows)

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return log-probabilities and what was likeliest; see `scoring.score`."""
        return scoring.score(self.evaluation, rows)

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return how far the model is from its base; see `divergence.FromBase`."""
        return self._from_base(self.model, lambda: self.evaluation, rows, trained=self.trained)

    @property
    def pad_id(self) -> int:
        """The id that fills gaps; it is masked everywhere, so any would do."""
        return int(self.tokenizer.pad_token_id)

    def train(self, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun) -> TrainResult:
        """Train, and save the weights into `run.checkpoint`.

        The longest pass of the validation loss is tried first, so that it cannot be what fails after an hour.
        """
        if me := member():
            from framework_plugins.hf.train.distributed.training import train_together  # noqa: PLC0415 - for those who are in a group

            return train_together(self, rows, validation, run, me)
        config, evaluation = self.config, self.evaluation
        evaluation.rehearse(validation)
        losses = evaluation.passes.losses
        passes = Passes(self.packer(losses, config.per_device_train_batch_size), losses, self.model)
        machine = self.machine_for(rows)
        training = Training(
            self.model, passes, self.oom_retry, machine, config, self.plan.seed, self.tokenizer, self.way.fast,
            Checkpoints(self.plan),
        )  # fmt: skip
        result = training.run(rows, run, lambda: self._validate(validation, run))
        self.trained = True
        return result

    def machine_for(self, rows: Sequence[TokenRow]) -> hardware.Hardware:
        """Return the machine, without gradient checkpointing where the longest row says that memory is enough for that.

        It is the plan's own arithmetic, with the memory that is free now instead of what the driver reported.
        """
        machine = self.machine
        if machine.device != "cuda" or not decides_checkpointing(self.plan):
            return machine
        try:
            shape = Shape.from_config(self.source.config_json())
        except FrameworkError:  # of a shape that the arithmetic does not know
            return machine
        gpu = hardware.room(machine)
        needs = footprint(self.plan, shape, gpu, len(longest(rows, 1)[0].input_ids), 0)
        if not needs.checkpointing:
            high = estimate(shape, needs).high / GIB
            fact = f"off (at most {high:.1f} GiB are needed, and {gpu.usable / GIB:.1f} are free)"
            machine.facts[hardware.CHECKPOINTING] = fact
        return replace(machine, checkpointing=needs.checkpointing)

    def _validate(self, validation: Sequence[TokenRow], run: TrainRun) -> Validation:
        """Measure, and leave the training as it was: its mode, and the random numbers that dropout draws."""
        before = Randomness.now()
        loss, losses = self._losses(validation) if validation else (None, {})
        result = loss, {**losses, **run.measure()}
        before.restore()
        self.model.train()
        return result

    def _losses(self, rows: Sequence[TokenRow]) -> tuple[float, dict[str, float]]:
        """Return the mean loss over the supervised tokens, computed as the evaluation computes it, and of each set."""
        scored = [row.log_probs for row in scoring.score(self.evaluation, rows, "validation")]
        parts: dict[str, list[float]] = {name: [] for name in self.plan.set_losses.values()}
        if parts:
            for row, log_probs in zip(rows, scored, strict=True):
                parts[set_of(row.where)] += log_probs
        losses = {name: _mean_loss(parts[part]) for name, part in self.plan.set_losses.items() if parts[part]}
        return _mean_loss([log_prob for row in scored for log_prob in row]), losses

    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights of an earlier run.

        Raises:
            FrameworkError: they do not fit this base and adapter.
        """
        if not isinstance(self.model, PeftModel):
            self._model = self.load(checkpoint, None)
        else:
            restore_adapter(self.model, checkpoint, self.machine.device)
        self.trained = True

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints from which this run would resume."""
        Checkpoints(self.plan).clear()

    def save_tokenizer(self, folder: Path) -> None:
        """Write tokenizer and chat template."""
        self.tokenizer.save_pretrained(folder)

    def unload(self) -> None:
        """Free the memory of the weights; what asks for the model loads it again."""
        self.close()

    def close(self) -> None:
        """Free the memory, so that the next run of a sweep has it; it need not find out again what it takes."""
        if self._evaluation:
            shared_cache().keep(SHOWN, self._shown, (self._evaluation.passes.losses.found, self._evaluation.largest))
        self._model = self._evaluation = None
        gc.collect()
        if self.machine.device == "cuda":
            torch.cuda.empty_cache()


def _mean_loss(log_probs: Sequence[float]) -> float:
    return -sum(log_probs) / len(log_probs)
