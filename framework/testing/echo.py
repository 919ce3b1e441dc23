"""A model and a trainer without torch: the model repeats the question until it has memorized an answer."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.api.component import Component, hookimpl
from framework.api.data import answer_rows
from framework.api.plan import Plan
from framework.api.protocols import Backend, Feature, Model, ModelPlace, ModelSource, TrainRun
from framework.api.records import (
    IGNORE,
    Answer,
    Example,
    Message,
    Prompt,
    Scored,
    Step,
    StepControl,
    TextForm,
    TokenGroup,
    TokenRow,
    TrainResult,
)
from framework.api.schema import UNPLANNED_ANSWERS, ModelConfig, TrainerConfig
from framework.hooks.session import current
from framework.plan.make import make_plan
from framework.testing.composition import compose
from framework.util.errors import FrameworkError

STOP = 0
WEIGHTS = "echo.json"


@dataclass
class EchoModelConfig(ModelConfig):
    """A model that repeats the question until it has learned an answer. For tests."""


@dataclass
class EchoTrainerConfig(TrainerConfig):
    """Memorizes answers, one row per step, without torch. For tests."""

    losses: list[float] = field(default_factory=list)
    """Training losses to report instead of its own, one per step; the last one repeats."""
    grad_norms: list[float] = field(default_factory=list)
    """Gradient norms to report instead of 1, one per step; the last one repeats."""
    eval_losses: list[float] = field(default_factory=list)
    """Validation losses to report instead of its own, one per validation; the last one repeats."""
    answers_at_once: int = UNPLANNED_ANSWERS
    """How many answers it makes at a time."""

    def planned_answers(self) -> int:
        """Return how many answers are made at once."""
        return self.answers_at_once


class _EchoPlugin:
    @hookimpl
    def framework_components(self) -> Iterable[Component]:
        """The model and the backend."""
        yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")
        yield Component("echo", EchoTrainerConfig, "framework.testing.echo:EchoBackend")


def add(module: object, *, name: str, package: str = "") -> None:
    """Register a module, or an object with hooks, as a plugin of this process.

    Raises:
        FrameworkError: a hook is unknown, or its arguments differ.
        ValueError: of pluggy, if the name is taken.
    """
    current().plugins.add(module, name=name, package=package)


def install() -> None:
    """Add `model=echo` and `trainer=echo`, unless they are there; call it before the first `compose`."""
    if not current().plugins.manager.has_plugin("echo"):
        add(_EchoPlugin(), name="echo", package="framework.testing")


def plan(overrides: Sequence[str], *, run_dir: Path) -> Plan:
    """Compose, check and plan a run of the echo backend in `run_dir`, or in the one that the overrides name."""
    install()
    defaults = (
        [] if any(word.startswith(("evaluator=", "+experiment=")) for word in overrides) else ["evaluator=[prompts]"]
    )
    words = ["model=echo", "trainer=echo", "logger=[]", *defaults, *overrides]
    config = compose(words)
    return make_plan(config, run_dir=None if config.run_dir else run_dir, overrides=tuple(words))


class EchoSource(ModelSource):
    """The model source of the echo backend: there is nothing to fetch."""

    def __init__(self, config: EchoModelConfig) -> None:
        self.config = config

    def check(self) -> str:
        """Name it."""
        return "echo"

    def config_json(self) -> Mapping[str, Any]:
        """Tell nothing: it has no layers."""
        return {}

    def fetch(self, *, weights: bool) -> ModelPlace:  # noqa: ARG002 - the protocol's signature
        """Return any folder."""
        return ModelPlace(Path(), "echo")


class EchoBackend(Backend):
    """Opens an `EchoModel`."""

    def __init__(self, config: EchoTrainerConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, plan: Plan) -> Iterator[EchoModel]:
        """Nothing has to be picked."""
        yield EchoModel(plan)


class EchoModel(Model):
    """Answers with what it learned for a conversation, else with the question. Tokens are words."""

    stop_ids = frozenset((STOP,))
    features = frozenset({Feature.second_training})

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.facts = {"device": "none"}
        self.words: dict[str, int] = {}
        self.learned: dict[str, str] = {}
        self.rows: list[list[int]] = []
        self.examples: dict[str, Example] = {}
        self.base = False
        self.answers_at_once = plan.training.planned_answers() or self.answers_at_once

    def _ids(self, text: str) -> list[int]:
        return [self.words.setdefault(word, len(self.words) + 1) for word in text.split()]

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Label the assistants' words and a stop after each turn."""
        rows = []
        for example in examples:
            self.examples[example.where] = example
            ids: list[int] = []
            asks = example.is_prompt
            labels: list[int] = []
            for message in example.messages or (Message("assistant", example.text or ""),):
                turn = [*self._ids(message.content), STOP]
                ids += turn
                learned = message.role == "assistant" and message.learned and not asks
                labels += turn if learned else [-100] * len(turn)
            rows.append(TokenRow(ids, labels, example.where))
        return rows

    @property
    def encoding(self) -> str:
        """Nothing: the model learns from the conversations themselves, so it has to see them each time."""
        return ""

    def decode(self, ids: Sequence[int]) -> str:
        """Join the words."""
        words = {token_id: word for word, token_id in self.words.items()} | {STOP: "<stop>"}
        return " ".join(words[token_id] for token_id in ids)

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Look the conversation up."""
        if batch_size < 1:
            raise FrameworkError(f"batch_size={batch_size} must be at least 1")
        answers = []
        for prompt in prompts:
            memory = {} if self.base else self.learned
            words = memory.get(_key(prompt.messages), prompt.messages[-1].content).split()
            output = words[:max_new_tokens]
            ids = tuple(self._ids(" ".join(output)))
            answers.append(Answer(" ".join(output), len(output), stopped=len(words) < max_new_tokens, ids=ids))
        return answers

    def stream(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,  # noqa: ARG002 - it draws nothing
        top_p: float = 1.0,  # noqa: ARG002 - as above
        seed: int | None,  # noqa: ARG002 - as above
    ) -> Iterator[str]:
        """Give the answer word by word."""
        (answer,) = self.generate([prompt], max_new_tokens=max_new_tokens, batch_size=1)
        yield from re.findall(r"^\S+|\s\S+", answer.text)

    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Say what comes next in the first row learned that begins so; nothing if none does."""
        if batch_size < 1:
            raise FrameworkError(f"batch_size={batch_size} must be at least 1")
        answers = []
        for start in starts:
            continuation = self._continuation(list(start))
            end = continuation.index(STOP) if STOP in continuation else len(continuation)
            output = continuation[: min(end, max_new_tokens)]
            answers.append(Answer(self.decode(output), len(output), stopped=end < max_new_tokens, ids=tuple(output)))
        return answers

    def _continuation(self, start: list[int]) -> list[int]:
        memory = [] if self.base else self.rows
        return next(
            (row[len(start) :] for row in memory if row[: len(start)] == start and len(row) > len(start)), [STOP]
        )

    def render(self, prompt: Prompt) -> str:
        """Put the turns one after the other."""
        return " ".join(f"{message.content} <stop>" for message in prompt.messages)

    def tokenize(self, text: str) -> list[int]:
        """Number the words."""
        words = self.words
        return [STOP if word == "<stop>" else words.setdefault(word, len(words) + 1) for word in text.split()]

    @property
    def text_form(self) -> TextForm:
        """Only a stop is before a text."""
        return TextForm((), STOP, 1000)

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return 0 for memorized answers and log(words) per token for the rest."""
        memory = {} if self.base else self.learned
        unknown = [row for row in rows if _key(self.examples[row.where].messages[:-1]) not in memory]
        return math.log(len(self.words) + 1) * sum(row.supervised for row in unknown) / sum(r.supervised for r in rows)

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return 0 for each learned token of memorized answers, and -log(words) for the rest."""
        scored = []
        for row in rows:
            positions = [position for position, label in enumerate(row.labels) if label != IGNORE and position]
            is_memorized = not self.base and row.input_ids in self.rows
            log_prob = 0.0 if is_memorized else -math.log(len(self.words) + 1)
            top = [row.labels[position] if is_memorized else row.input_ids[position - 1] for position in positions]
            scored.append(Scored([log_prob] * len(positions), top))
        return scored

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return how far what is memorized is from knowing nothing: log(words), else 0."""
        with self.as_base():
            before = self.score(rows)
        after = self.score(rows)
        gains = [sum(trained.log_probs) - sum(base.log_probs) for base, trained in zip(before, after, strict=True)]
        return [gain / max(1, len(scored.log_probs)) for gain, scored in zip(gains, after, strict=True)]

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Forget for a while."""
        before, self.base = self.base, True
        try:
            yield
        finally:
            self.base = before

    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Learn one row a step."""
        return EchoTraining(self, answer_rows(rows), answer_rows(validation), run).train()

    def learn(self, row: TokenRow) -> None:
        """Memorize the last answer of a row, unless it is plain text."""
        example = self.examples[row.where]
        if example.messages:
            self.learned[_key(example.messages[:-1])] = example.messages[-1].content
        self.rows.append(row.input_ids)

    def restore(self, checkpoint: Path) -> None:
        """Read what was learned."""
        self.learned, self.rows = json.loads((checkpoint / WEIGHTS).read_text(encoding="utf-8"))

    def start_over(self) -> None:
        """Forget what was learned."""
        self.learned, self.rows = {}, []

    def save_tokenizer(self, folder: Path) -> None:
        """Write the words."""
        (folder / "words.json").write_text(json.dumps(self.words), encoding="utf-8")


def _key(messages: Sequence[Message]) -> str:
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


class EchoTraining:
    """One training.

    Args:
        model: learns the rows.
        rows: what it learns.
        validation: of which the loss is taken.
        run: receives the steps, and returns orders.
    """

    def __init__(
        self, model: EchoModel, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun
    ) -> None:
        self.model = model
        self.config: Any = model.plan.training
        self.rows = rows
        self.validation = validation
        self.run = run
        self.total = min(len(rows), self.config.max_steps or len(rows))
        self.rate = self.config.learning_rate
        self.validations = 0
        self.set_aside: tuple[dict[str, str], list[list[int]]] | None = None

    def train(self) -> TrainResult:
        """Learn until the last step, or until the order to stop, and save what was learned or set aside."""
        losses: list[float] = []
        tokens = 0
        for step_number in range(1, self.total + 1):
            row = self.rows[step_number - 1]
            self.model.learn(row)
            losses.append(self._at("losses", step_number, 1 / step_number))
            tokens += len(row.input_ids)
            norm, seconds = self._at("grad_norms", step_number, 1.0), 0.001 * step_number
            epoch = step_number / len(self.rows)
            step = Step(step_number, self.total, epoch, losses[-1], self.rate, norm, tokens, seconds)
            if self._tell(step):
                break
        if self.set_aside is not None:
            self.model.learned, self.model.rows = self.set_aside
        self.run.checkpoint.mkdir(parents=True, exist_ok=True)
        (self.run.checkpoint / WEIGHTS).write_text(json.dumps([self.model.learned, self.model.rows]), encoding="utf-8")
        trained_rows = self.rows[: len(losses)]
        return TrainResult(
            steps=len(losses),
            epochs=len(losses) / len(self.rows),
            train_loss=sum(losses) / len(losses),
            last_loss=losses[-1],
            seconds=0.001 * len(losses),
            tokens=tokens,
            supervised_tokens=sum(row.supervised for row in trained_rows),
            trainable_parameters=len(self.model.learned),
            total_parameters=len(self.model.learned),
            peak_memory_bytes=1,
            checkpoint=self.run.checkpoint.name,
        )

    def _tell(self, step: Step) -> bool:
        """Send a step and follow the order; return whether the training ends there."""
        validated = self.validations > 0
        due = self.config.validation_is_due(step.step, len(self.rows), self.total, validated=validated)
        ends = self._obey(self._validated(step) if due else step)
        if ends and self.validations and not due:
            self._obey(self._validated(step))
        return ends

    def _validated(self, step: Step) -> Step:
        metrics = dict(self.run.measure())
        if not self.validation and not metrics:
            return step
        for name, part in self.model.plan.set_losses.items():
            if rows := [row for row in self.validation if TokenRow.set_of(row.where) == part]:
                metrics[name] = self.model.loss(rows)
        self.validations += 1
        loss = self.model.loss(self.validation) if self.validation else None
        if loss is not None:
            loss = self._at("eval_losses", self.validations, loss)
        return dataclasses.replace(step, eval_loss=loss, metrics=metrics)

    def _obey(self, step: Step) -> bool:
        control = self.run.on_step(step) or StepControl()
        if control.keep:
            self.set_aside = dict(self.model.learned), list(self.model.rows)
        self.rate *= control.rate
        return bool(control.stop)

    def _at(self, setting: str, position: int, default: float) -> float:
        """Return the value of a setting at a position, from 1; the last for later ones, `default` if none is set."""
        # A backend that is built on this one may have no such setting.
        values: Sequence[float] = getattr(self.config, setting, ())
        return values[min(position, len(values)) - 1] if values else default
