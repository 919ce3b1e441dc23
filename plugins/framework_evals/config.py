"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Len

from framework.records import Aspect
from framework.schema import EvaluatorConfig, MetricConfig

DIVERGENCE = "general_divergence"


@dataclass
class PromptsConfig(EvaluatorConfig):
    """The same prompts before and after training: the data's own, or else validation rows."""

    count: Annotated[int, Gt(0)] = 30
    """How many prompts, from the first."""
    max_new_tokens: Annotated[int, Gt(0)] = 128
    """Longest answer in tokens."""
    batch_size: Annotated[int, Gt(0)] = 16
    """Prompts answered at once."""


@dataclass
class MemorizationConfig(EvaluatorConfig):
    """Whether training rows are recited, beside held-out rows and the base model."""

    rows: Annotated[int, Gt(0)] = 24
    """How many training rows are asked, and how many held-out ones."""
    max_new_tokens: Annotated[int, Gt(0)] = 48
    """Tokens of an answer, from its first, that are compared with the true ones."""
    min_tokens: Annotated[int, Gt(1)] = 4
    """Rows whose answer has fewer tokens, the stop token counted, are left out: they are too easily right."""
    seed: int = 0
    """Decides which rows are asked."""
    excess: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Flagged where, at the confidence of the verdict, more than this share of the training rows is recited beyond what
    held-out rows show to be learned."""
    excess_alone: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    """The same where too few rows are held out, and the base model alone is compared with."""

    def measures(self) -> tuple[str, ...]:
        """Name what is measured; nothing of the held-out rows where there are too few."""
        looks = [f"{look}_{part}" for part in ("train", "heldout") for look in ("verbatim", "prefix", "common_run")]
        return (*looks, "verbatim_excess")


@dataclass
class LmEvalConfig(EvaluatorConfig):
    """Tasks of lm-evaluation-harness, or of one's own that are written for it, before and after training."""

    tasks: Annotated[list[str], Len(1)] = field(default_factory=lambda: ["general"])
    """Tasks, groups or tags by name, patterns such as mmlu_*, or YAML files. `general` is a suite that comes along."""
    include_path: Annotated[str | None, Len(1)] = None
    """A folder with YAML files of tasks, which are found by name before those that lm-eval brings."""
    limit: Annotated[float | None, Gt(0)] = None
    """How many documents of each task, from the first; below 1 it is a share of them."""
    num_fewshot: Annotated[int | None, Ge(0)] = None
    """Solved examples before each question; null leaves it to the task."""
    apply_chat_template: bool = False
    """Ask in the form of a conversation. The choices of a question then begin without a space."""
    fewshot_as_multiturn: bool = True
    """In a conversation, solved examples are turns of their own."""
    system_instruction: Annotated[str | None, Len(1)] = None
    """A system prompt, or without a conversation the beginning of each context."""
    batch_size: Annotated[int, Gt(0)] = 16
    """Contexts that are continued at once, fewer where memory runs out. Scoring takes what fits by itself."""
    bootstrap_iters: Annotated[int, Ge(0)] = 1000
    """Resamples behind the standard error of a figure that has no formula for it; 0: no standard errors at all."""
    samples: Annotated[int, Ge(0)] = 10
    """How many generated answers of each task are kept, from the first."""
    aspect: Aspect = Aspect.general
    """What the tasks tell of: what the model knew before (general), or what it is to learn (task)."""
    max_loss: Annotated[float, Interval(gt=0, le=1)] = 0.05
    """A general task whose score, between 0 and 1, falls by more, and not by chance, is told as forgetting."""

    def measures(self) -> tuple[str, ...]:
        """Return what the tasks measure, as far as their files say so."""
        from framework_evals.harness.names import measures  # noqa: PLC0415 - --help need not pay for it

        return measures(self)


@dataclass
class ForgettingConfig(EvaluatorConfig):
    """What the model knew before: general questions, answers and texts, and how far it is from its base."""

    questions: Annotated[int, Interval(ge=0, le=16)] = 16
    """Questions of each of the eight subjects, from the first."""
    instructions: Annotated[int, Interval(ge=0, le=64)] = 64
    """General instructions whose answers are scored, and at which the divergence is taken."""
    texts: Annotated[int, Interval(ge=0, le=64)] = 64
    """Paragraphs of which the perplexity is taken."""
    max_accuracy_loss: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """Flag a fall of the share of right answers by more than this, where it is not by chance."""
    max_perplexity_ratio: Annotated[float, Gt(1)] = 1.5
    """Flag a perplexity of general texts that is more than so many times the base's."""
    max_divergence: Annotated[float, Gt(0)] = 1.0
    """Flag a mean divergence from the base, KL(base || tuned) in nats a token, above this."""

    def measures(self) -> tuple[str, ...]:
        """Return the measures of the parts that are asked."""
        named = {
            "general_accuracy": self.questions,
            "general_answers": self.instructions,
            "general_perplexity": self.texts,
            DIVERGENCE: self.instructions,
        }
        return tuple(name for name, count in named.items() if count)


@dataclass
class ExactMatchConfig(MetricConfig):
    """1 where the answer is the reference, white space around them left out."""

    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class JsonValidConfig(MetricConfig):
    """1 where the whole answer is JSON, without a fence or a word around it."""
