"""A model that `trainer=hf` opened: encodes, answers, measures its loss, trains, saves and restores.

The weights are loaded when first needed, so data are checked before a byte of them is read or downloaded.
"""

from __future__ import annotations

import functools
import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from peft import PeftModel

from framework import Plan, Stage
from framework.api import Answer, Example, Feature, Model, Prompt, Scored, TrainResult, counting, key_of
from framework.api.training import (
    AnswerTask,
    Generator,
    Method,
    ModelPlace,
    ModelSource,
    Role,
    Rollout,
    Sampled,
    SamplingParams,
    TextForm,
    TokenGroup,
    TokenRow,
    TrainRun,
    answer_rows,
    environments,
    shared_cache,
)
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.generate.generate import complete, shared_beginning, to_answer
from framework_plugins.hf.generate.sample import Drawn, sample
from framework_plugins.hf.generate.stream import stream
from framework_plugins.hf.generate.together import answer_together
from framework_plugins.hf.load.adapt_model import as_base, begin, restore_adapter, save_weights
from framework_plugins.hf.load.adapter_config import (
    has_frozen,
    initialization,
    saved_config,
    trained_config,
)
from framework_plugins.hf.load.base_cache import base_key
from framework_plugins.hf.load.from_rows import begin_from_rows
from framework_plugins.hf.load.hub import fetch_weights
from framework_plugins.hf.load.loading import Read, load, without_weights
from framework_plugins.hf.load.published import AdapterNames, adapter_names, republish
from framework_plugins.hf.load.sharded_weights import reshard
from framework_plugins.hf.load.tokenizer import (
    add_tokens,
    load_tokenizer,
    set_padding,
    stop_ids,
    text_form,
    tokenizer_place,
)
from framework_plugins.hf.load.weight_files import check_files
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.passes import Passes
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry, free_memory, make_oom_retry
from framework_plugins.hf.machine.precision import to_eval_mode, with_gradients
from framework_plugins.hf.packing.eligibility import ForwardPlan
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.packing.tree_attention import MASK_BLOCK
from framework_plugins.hf.score import scoring
from framework_plugins.hf.score.divergence import DivergenceFromBase
from framework_plugins.hf.score.expert_use import ExpertCounter
from framework_plugins.hf.score.scoring import Evaluation
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.settings.library_fields import EVA
from framework_plugins.hf.settings.pass_size import PassLimits
from framework_plugins.hf.tokens import chat, template_switches
from framework_plugins.hf.tokens.template_limits import check_template
from framework_plugins.hf.train.resume.checkpoints import Checkpoints
from framework_plugins.hf.train.step import CheckedObjective
from framework_plugins.hf.train.step_reporter import Validation
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.hf.train.training import Training, validate
from framework_plugins.lib.group_member import Member, member
from framework_plugins.lib.model_settings import max_positions
from framework_plugins.lib.sampling import make_sampler
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

if TYPE_CHECKING:
    from framework_plugins.hf.generate.calls import CallParser
    from framework_plugins.hf.generate.episodes import Episodes

PROBED = "probed"
"""Key in the shared cache: what the probe of a model with such an adapter found, and how large a pass fits."""


class HFModel(Model):
    """A base model with the adapter of the run, or a base model whose weights are all trained.

    Attributes:
        losses_class: computes the losses of the loaded model.
        trainer_class: trains it.
        checked: whether the weights were here, and whole, when it was opened.
        vocabulary: tokens that the model has; the tokenizer may have fewer, or more that no text becomes.
        stop_ids: the token ids that end an answer, see `tokenizer.stop_ids`.
        asks: whether the rows that it trains on are prompts, whose answers are drawn in each step.
    """

    losses_class: type[Losses] = Losses
    trainer_class: type[SupervisedTrainer] = SupervisedTrainer
    asks = False
    features = frozenset(Feature)

    def __init__(
        self,
        plan: Plan,
        config: HFTrainerConfig,
        machine: hardware.Hardware,
        source: ModelSource,
        location: ModelPlace,
        forward_plan: ForwardPlan,
        *,
        checked: bool,
        vocabulary: int,
    ) -> None:
        self.plan = plan
        self.checked = checked
        self.config = config
        self.machine = machine
        self.source = source
        self.place = location
        self.forward_plan = forward_plan
        self.facts = machine.facts
        self.answers_at_once = plan.training.planned_answers() or self.answers_at_once
        settings = plan.model.config
        training = Stage.train in plan.stages
        start = plan.start(weights=False)
        trained = start.folder if start else None if training else plan.checkpoint
        self.tokenizer = load_tokenizer(tokenizer_place(location, trained), settings)
        self.new_ids = add_tokens(self.tokenizer, settings.new_tokens, allow_existing=not training)
        self.vocabulary = max([vocabulary, *(token_id + 1 for token_id in self.new_ids)])
        check_template(self.tokenizer, settings.template_switches, settings.chat_template or f"model {location.name}")
        if thinking := template_switches.thinking_fact(self.tokenizer, settings, location.name):
            machine.facts["thinking"] = thinking
        self.stop_ids = stop_ids(location, self.tokenizer)
        set_padding(self.tokenizer, self.stop_ids)
        if appended := self.chat.appended:
            machine.facts["last answers"] = f"{appended} is appended: the chat template writes no stop token"
        self.trained = False
        self._is_base = False
        self._restored: Path | None = None
        self.episodes = self._episodes()
        self.oom_retry = make_oom_retry(plan, config, machine.facts)
        self._answers = Batches(self.oom_retry, "answering", "evaluator.prompts.max_new_tokens")
        self._draws = Batches(
            self.oom_retry, "drawing answers", "method.max_completion_length", ", which draws other answers"
        )
        self._model: Any = None
        self._evaluation: Evaluation | None = None
        self._from_base = DivergenceFromBase()
        self._probe_key = ""
        self._generator: Generator | None = None

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
        """A hash over all that the base's answers depend on; see `base_cache.base_key`."""
        return base_key(self.plan, self.machine.facts, self.forward_plan, self.place.folder, self.encoding)

    @functools.cached_property
    def names(self) -> AdapterNames:
        """The names of adapters of the base."""
        return adapter_names(self.place.folder, trust=self.plan.model.config.trust_remote_code)

    @property
    def positions(self) -> int | None:
        """The most tokens of a row, by config.json."""
        return max_positions(self.source.config_json())

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Tokenize, label and prove; see `chat.Chat.encode`.

        Raises:
            FrameworkError: a text becomes a token that the model does not have.
        """
        rows = self.chat.encode(examples)
        chat.check_ids(rows, self.vocabulary, self.place.name)
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    @property
    def model(self) -> Any:
        """The model, loaded when first asked for; the adapter's first weights depend only on the seed."""
        if self._model is None:
            transformers.set_seed(self.plan.seed)
            # Whoever calls from Python may have switched gradients off; its weights are to be trained all the same.
            with with_gradients(), counting(None, "", "loading the weights"):
                self._model = self._load_trained(self._restored) if self._restored else self._load_new()
        return self._model

    def _load_new(self) -> Any:
        config = self._trained_config()
        model = self.load(self.weights(), config)
        begin(self.plan, model, self.machine.device)
        return model

    def _load_trained(self, checkpoint: Path) -> Any:
        config = self._trained_config()
        if config is None:
            return self.load(checkpoint, None)
        if self._saved_as_one:
            config = saved_config(checkpoint, f"checkpoint={checkpoint}", self.plan)
        model = self.load(self.weights(), config)
        restore_adapter(model, checkpoint, self.machine.device, self.names)
        return model

    def _trained_config(self) -> Any:
        """Return the settings of the adapter; None if the weights themselves are trained."""
        config = trained_config(self.plan)
        if self.new_ids and Stage.train in self.plan.stages:
            config.trainable_token_indices = list(self.new_ids)  # type: ignore[union-attr] # LoRA's: the plan checks it
        return config

    @property
    def _saved_as_one(self) -> bool:
        """Whether two adapters are saved as one, which is another model than the one that is trained."""
        return has_frozen(self.plan) and not self.plan.external_checkpoint

    def weights(self) -> Path:
        """Bring the weights of the base to this machine and return their folder.

        Raises:
            FrameworkError: there are none, or not those of the model.
        """
        location = fetch_weights(self.source)
        if not self.checked:
            empty = without_weights(location, self.config, trust=self.plan.model.config.trust_remote_code)
            check_files(location, empty, values=True)
        return location.folder

    @property
    def reader(self) -> Read | None:
        """What makes another model of the weights than the one that writes text; None if nothing does."""
        return None

    def load(self, folder: Path, peft_config: Any) -> Any:
        """Load weights, put what is trained on them, and return the model; see `loading.load`."""
        return load(
            self.plan, self.config, self.machine, self.place, self.forward_plan, folder, peft_config, self.reader
        )

    def _in_eval_mode(self) -> Any:
        """Return the model in evaluation mode."""
        return to_eval_mode(self.model, self.machine.device)

    def as_base(self) -> AbstractContextManager[None]:
        """Switch the adapter off for a while."""
        return self._noting_base(as_base(self.model, trained=self.trained))

    @contextmanager
    def _noting_base(self, switched_off: AbstractContextManager[None]) -> Iterator[None]:
        with switched_off:
            before, self._is_base = self._is_base, True
            try:
                yield
            finally:
                self._is_base = before

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        starts = [self.tokenize(self.render(prompt)) for prompt in prompts]
        answers = self.complete(starts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        if not any(prompt.tools for prompt in prompts) or self._call_parser is None:
            return answers
        return [
            replace(answer, calls=self._call_parser.calls(answer.ids, start, prompt.tools)) if prompt.tools else answer
            for prompt, start, answer in zip(prompts, starts, answers, strict=True)
        ]

    @functools.cached_property
    def _call_parser(self) -> CallParser | None:
        """What reads calls of tools; None if nothing knows those of the chat template."""
        from framework_plugins.hf.generate.calls import CallParser  # noqa: PLC0415 - TRL, for prompts with tools

        try:
            return CallParser(self.tokenizer)
        except ValueError:
            return None

    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Continue rows of token ids greedily, together with other processes if there are enough of them."""
        rows = list(map(list, starts))
        shared = shared_beginning(rows) if self.forward_plan.prefix_reusable and len(rows) > 1 else []
        task = AnswerTask(rows, shared, max_new_tokens, batch_size, self._is_base, self._restored)
        # What is split has the GPUs of the helpers too.
        return answer_together(task, self._complete, () if self.machine.split else self.helpers)

    def answer(self, task: AnswerTask) -> list[Answer]:
        """Continue the rows of another process, with the weights that it has."""
        if task.checkpoint and task.checkpoint != self._restored:
            self.restore(task.checkpoint)
        with self.as_base() if task.base else nullcontext():
            return self._complete(task)

    def _complete(self, task: AnswerTask) -> list[Answer]:
        return complete(
            self._in_eval_mode(), self.tokenizer, list(map(list, task.starts)), self.stop_ids, task.max_new_tokens,
            task.batch_size, start=task.shared, batches=self._answers,
        )  # fmt: skip

    def sample(self, prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
        """Draw answers to each prompt, with what `rollout=` says."""
        self._in_eval_mode()
        if self._generator is None:
            rollout: Rollout = self.plan.rollout.create()
            self._generator = rollout.generator(self)
        return self._generator(prompts, params)

    def draw(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Sampled]]:
        """Draw with the model itself; see `sample.sample`."""
        if self.episodes:
            return self.episodes(prompts, params, self._draw)
        groups = self._draw([*map(self.prompt_ids, prompts)], params)
        return [
            [self.sampled(prompt, answer.ids, answer.log_probs) for answer in group]
            for prompt, group in zip(prompts, groups, strict=True)
        ]

    def _draw(self, starts: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Drawn]]:
        """Continue rows of token ids; see `sample.sample`."""
        return sample(
            self._in_eval_mode(), self.tokenizer, starts, params, self.stop_ids,
            self.answers_at_once, self._draws, share=self.forward_plan.prefix_reusable,
        )  # fmt: skip

    def _episodes(self) -> Episodes | None:
        """Return what draws answers in the environment of the run, if it has one."""
        environment = self.plan.method.config.tool_environment()
        if environment is None or Stage.train not in self.plan.stages:
            return None
        from framework_plugins.hf.generate.episodes import Episodes  # noqa: PLC0415 - of a run with an environment

        reference, rounds = environment
        factory, limit = environments.environment_factory(reference), self.plan.training.max_seq_length
        return Episodes(factory, self.tokenizer, self.stop_ids, self.render, rounds, limit)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, to which an answer is drawn."""
        return self.tokenize(self.render(prompt))

    def sampled(self, prompt: Prompt, ids: Sequence[int], log_probs: Sequence[float]) -> Sampled:
        """Return an answer of which the tokens are known."""
        answer, start, answer_ids = to_answer(self.tokenizer, [*ids], self.stop_ids), self.prompt_ids(prompt), [*ids]
        row = TokenRow([*start, *answer_ids], [TokenRow.IGNORE] * len(start) + answer_ids, prompt.where)
        return Sampled(answer.text, answer.tokens, answer.stopped, answer.ids, row=row, log_probs=tuple(log_probs))

    def save_adapter(self, folder: Path) -> None:
        """Write the weights that are trained, as they are now."""
        self.save_weights(folder, check=False)

    def save_weights(self, folder: Path, state: dict[str, Any] | None = None, *, check: bool = True) -> None:
        """Write the weights that are trained; `state` are the weights themselves, where they are in pieces."""
        names = self.names if isinstance(self.model, PeftModel) else None
        save_weights(self.model, folder, self.tokenizer, names, state, check=check)

    def published(self, checkpoint: Path) -> Path:
        """Return trained weights with the names of the class in config.json; a copy if they have others."""
        if not (checkpoint / ADAPTER_CONFIG).is_file():
            return checkpoint
        target = Path(tempfile.mkdtemp(prefix="adapter-"))
        weakref.finalize(self, shutil.rmtree, target, ignore_errors=True)  # exporters read it
        return target if republish(checkpoint, self.names, target) else checkpoint

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer one prompt, and give the text as it comes; see `stream.stream`."""
        ids, choose = self.tokenize(self.render(prompt)), make_sampler(temperature, top_p, seed)
        return stream(self._in_eval_mode(), self.tokenizer, ids, self.stop_ids, max_new_tokens, choose)

    def render(self, prompt: Prompt) -> str:
        """Write a prompt as the chat template does, with the opening of the assistant's turn."""
        return self.chat.prompt(prompt.messages, prompt.tools)

    def tokenize(self, text: str) -> list[int]:
        """Return token ids; the template's own BOS is in the text, so none is added."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @functools.cached_property
    def text_form(self) -> TextForm:
        """How it reads plain text; see `tokenizer.text_form`."""
        return text_form(self.tokenizer, self.model.config)

    def _new_losses(self) -> Losses:
        """Return what computes losses, as the config of the model says and before a probe."""
        how, longest = self.forward_plan, self.plan.training.max_seq_length
        return self.losses_class(
            self.model, how.packing, dense_mask=not how.branch_attention, share=how.share, longest=longest
        )

    def open_losses(self) -> Evaluation:
        """Return how losses are computed, probed when first asked for; the model is in evaluation mode."""
        model = self._in_eval_mode()
        if self._evaluation is None or self._evaluation.passes.losses.model is not model:
            base, adapter = self.base_key, self.plan.adapter
            settings = adapter.component.name, adapter.settings, self.plan.training.max_seq_length
            self._probe_key = key_of(base, *settings) if base else ""
            self._evaluation = scoring.open_evaluation(
                self._new_losses(),
                shared_cache().find(PROBED, self._probe_key),
                partial(self.packer, rows=self.config.per_device_eval_batch_size),
                self.oom_retry,
                self.machine,
            )
        return self._evaluation

    def packer(self, losses: Losses, rows: int) -> Packer:
        """Return what cuts rows into passes of at most `rows` rows, or of as many blocks that short texts fill."""
        on_cpu, pair_cost = self.machine.device == "cpu", self.forward_plan.pair_cost
        tokens = rows * self.plan.training.max_seq_length if self.plan.method.config.texts else 0
        return Packer(
            losses.packing, rows, self.pad_id, pair_cost, dense_mask=losses.dense_mask, small_passes=on_cpu,
            tokens=tokens, share=losses.share,
            block=0 if on_cpu or losses.dense_mask or losses.by_row_starts else MASK_BLOCK,
        )  # fmt: skip

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over the supervised tokens."""
        return scoring.validation_losses(self.open_losses(), rows)[0]

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return log-probabilities and what was likeliest; see `scoring.score`."""
        evaluation = self.open_losses()
        counter = ExpertCounter(evaluation.passes.losses.plain)
        scored = scoring.score(evaluation, rows, around=counter.counting)
        self.expert_use = counter.use(rows)
        return scored

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return how far the model is from its base; see `divergence.DivergenceFromBase`."""
        return self._from_base(self.model, self.open_losses, rows, trained=self.trained)

    @property
    def pad_id(self) -> int:
        """The id that fills gaps; it is masked everywhere, so any would do."""
        return int(self.tokenizer.pad_token_id)

    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Train, and save the weights into `run.checkpoint`.

        The longest pass of the validation loss is tried first, so that it cannot be what fails after an hour.
        """
        with with_gradients():
            return self._train(rows, validation, run)

    def _train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        self.asks = self.plan.method.config.samples and Role.answer not in rows[0].roles
        if self.asks:
            validation = [group for group in validation if Role.answer in group.roles]
        if initialization(self.plan) == EVA and Checkpoints(self.plan).newest() is None:
            begin_from_rows(self.model, answer_rows(rows), self.config.per_device_train_batch_size)
        if me := member():
            limits = PassLimits(self.config.pass_tokens)
            training = self._training(self._new_losses(), self.machine, limits, me)
            return training.run_in_group(rows, run, partial(self._validate_together, training, validation))
        evaluation = self.open_losses()
        free_memory()  # the baseline's
        evaluation.rehearse(answer_rows(validation))
        machine, limits = hardware.choose_passes(
            self.machine, self.plan, self.source, rows, fused=install.keeps_less(self.model)
        )
        training = self._training(evaluation.passes.losses, machine, limits)
        result = training.run(rows, run, partial(self.validate, validation, run))
        del training
        free_memory()  # the training's
        self.trained = True
        return result

    def _training(
        self, losses: Losses, machine: hardware.Hardware, limits: PassLimits, me: Member | None = None
    ) -> Training:
        """Return a training, of one process or of a member of a group."""
        objective, per_prompt = self.objective, 1
        if self.asks:
            losses = losses.at_temperature(self.plan.method.config.sampling(self.plan.seed).temperature)
            per_prompt = math.ceil(self.plan.cost.rows)  # all answers to a prompt
        packer = self.packer(losses, per_prompt * self.config.per_device_train_batch_size)
        if limits.tokens:
            packer = replace(packer, tokens=limits.tokens, small_passes=False)
        if not objective.linear:
            packer = replace(packer, together=True)
        return Training(
            self.model,
            Passes(packer, losses, self.model, limits.kept),
            self.oom_retry,
            machine,
            self.config,
            self.plan,
            self.tokenizer,
            self.forward_plan.fused_layers,
            Checkpoints(self.plan, writes=not me or me.rank == 0),
            objective,
            self.trainer_class,
            self.encoding,
            self.sample if self.asks else None,
            self._draws,
            self.save_weights,
            me,
        )

    @functools.cached_property
    def method(self) -> Method:
        """The method of the run."""
        method: Method = self.plan.method.create()
        return method

    @property
    def objective(self) -> CheckedObjective:
        """What the run learns: the objective of its method, or else of `loss=`."""
        plan, method_objective = self.plan, self.method.objective
        name = (
            f"loss={plan.loss.component.name}" if method_objective is None else f"method={plan.method.component.name}"
        )
        plain = method_objective is None and plan.loss.config.plain
        longest = plan.training.max_seq_length
        return CheckedObjective(method_objective or plan.loss.create(), name, self.vocabulary, plain, longest)

    def validate(self, validation: Sequence[TokenGroup], run: TrainRun) -> Validation:
        """Measure during a training; see `training.validate`."""
        rows = answer_rows(validation)
        return validate(
            self.model, self.open_losses, rows, self.plan.set_losses, run.measure, partial(self._measure, validation)
        )

    def _validate_together(self, training: Training, validation: Sequence[TokenGroup]) -> Validation:
        """Measure in all processes of a group; nothing is repeated if memory runs out, which others would wait for."""
        if not validation:
            return None, {}
        passes = training.passes
        packer = replace(passes.packer, rows=self.config.per_device_eval_batch_size)
        evaluation = Evaluation(Passes(packer, passes.losses), OomRetry({}, "", retries=False), self.machine.device)
        self._evaluation = evaluation

        def opened() -> Evaluation:
            self._in_eval_mode()
            return evaluation

        result = validate(
            self.model, opened, answer_rows(validation), self.plan.set_losses, dict,
            partial(self._measure, validation), training.world,
        )  # fmt: skip
        reshard(self.model)
        return result

    def _measure(self, validation: Sequence[TokenGroup]) -> dict[str, float]:
        """Return what the method measures of held-out groups."""
        measures = self.method.measures(self, validation) if validation else {}
        return {name: measure.value for name, measure in measures.items()}

    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights of an earlier run; if the run does not measure them, when they are first needed.

        An export reads files, and a run may end with its training: the base need not fit into memory for that.

        Raises:
            FrameworkError: they do not fit this base and adapter.
        """
        if isinstance(self._model, PeftModel) and not self._saved_as_one:
            restore_adapter(self._model, checkpoint, self.machine.device, self.names)
        else:
            self.close()
        self.trained, self._restored = True, checkpoint
        if Stage.evaluate in self.plan.stages:
            self.model  # noqa: B018 - what does not fit is reported now

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints from which this run would resume."""
        Checkpoints(self.plan).clear()

    def save_tokenizer(self, folder: Path) -> None:
        """Write tokenizer and chat template."""
        self.tokenizer.save_pretrained(folder)

    def start_over(self) -> None:
        """Load the base again when it is next needed, with the first weights of the adapter."""
        self.close()
        self.trained, self._restored = False, None

    def unload(self) -> None:
        """Free the memory of the weights; what asks for the model loads it again."""
        self.close()

    def close(self) -> None:
        """Free the memory, so that the next run of a sweep has it; it need not find out again what it takes."""
        if self._evaluation:
            shared_cache().keep(PROBED, self._probe_key, self._evaluation.known)
        self._model = self._evaluation = self._generator = None
        free_memory()
