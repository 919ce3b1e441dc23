"""What checks data, scores answers and measures a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.audit import AuditData
    from framework.api.data import Data
    from framework.api.protocols.model import Model
    from framework.api.records import Answered, EvalResult, Finding, MeasureKind, Prompt, Results, Scores
    from framework.api.selection import Selection

__all__ = ["AnswerMetric", "AnyMetric", "Audit", "Evaluator", "Metric"]


@runtime_checkable
class Audit(Protocol):
    """An option of `audit=`."""

    @abstractmethod
    def audit(self, data: AuditData) -> Iterable[Finding]:
        """Check the data and give the findings; none if all is well.

        The rows come in batches and can be read more than once. Keep only a few numbers of each row: there may be
        millions.
        """

    def clean(self, data: AuditData) -> Iterable[Finding]:  # noqa: ARG002 - most audits write nothing
        """Write the rows without those of the findings if the config says so, and report what was written.

        Every run calls this; it calls `audit` only if the findings for the same rows are not cached.

        Raises:
            FrameworkError: they cannot be written.
        """
        return ()


@runtime_checkable
class Metric(Protocol):
    """An option of `metric=` that looks at the text of one answer.

    One that needs a reference also scores texts that no model wrote: each answer without its form, and up to ten
    references as the answer to all questions, which a gain has to beat. If a score is expensive, such as a request,
    subclass `AnswerMetric`.

    Attributes:
        higher_is_better: whether a higher value is better.
        needs_reference: whether it gets only answers to prompts with a reference.
        unit: of the number; one between 0 and 1 without a unit is a share, and is shown in percent.
        kind: what it measures; None: `content` if it needs a reference, else `form`.
        compares: whether it also compares the trained model with the base in this run, as a judge does.
    """

    higher_is_better: bool
    needs_reference: bool
    unit: str = ""
    kind: MeasureKind | None = None
    compares: bool = False

    @abstractmethod
    def score(self, answer: str, reference: str | None) -> float:
        """Score one answer; the mean over all answers is reported."""

    def compare(self, before: Sequence[Answered], after: Sequence[Answered]) -> Scores:  # noqa: ARG002 - for others
        """Compare answers to the same prompts: 1 if `after` is better, 0 if `before` is, 0.5 if neither is."""
        raise TypeError(f"{type(self).__name__} compares no answers")

    def may_match(self, begun: str, reference: str) -> bool:  # noqa: ARG002 - most metrics read whole answers
        """Whether an answer that begins so may have another score than 0; if not, the rest need not be generated."""
        return True


class AnswerMetric(ABC):
    """An option of `metric=` that needs more than the text of an answer, or all answers at once. Subclass it.

    Attributes:
        higher_is_better: whether a higher value is better.
        needs_reference: whether it gets only answers to prompts with a reference.
        needs_log_probs: whether `Answered.reference_log_probs` is filled, for which the model reads every reference.
        exponential: whether the scores are logarithms; the reported number is then e to the power of their mean.
        unit: of the number; one between 0 and 1 without a unit is a share, and is shown in percent.
        kind: what it measures; None: `loss` with log-probabilities, else `content` with a reference, else `form`.
        compares: whether it also compares the trained model with the base in this run, as a judge does.
    """

    higher_is_better: bool = True
    needs_reference: bool = False
    needs_log_probs: bool = False
    exponential: bool = False
    unit: str = ""
    kind: MeasureKind | None = None
    compares: bool = False

    @abstractmethod
    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Score the answers of one evaluation, at least one; an answer that cannot be scored gets None.

        It is called for the base model and again for the trained one.
        """

    def compare(self, before: Sequence[Answered], after: Sequence[Answered]) -> Scores:
        """Compare answers to the same prompts: 1 if `after` is better, 0 if `before` is, 0.5 if neither is."""
        raise NotImplementedError


AnyMetric = Metric | AnswerMetric
"""A metric of either kind, as an evaluator gets it; `framework.api.scoring` calls both."""


@runtime_checkable
class Evaluator(Protocol):
    """An option of `evaluator=`.

    It may look in stages: ask a part first, and more only while that decides nothing. `evaluate` is then its first
    look. A look at the trained model after the first is followed by the same look at the base; of a model that keeps no
    base, all looks are taken before the training. The `look_share` of each measure says how much of the level a look
    may use.
    """

    @abstractmethod
    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Measure the model in its current state."""

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt] | None:  # noqa: ARG002 - most ask no prompts
        """Return its own prompts: empty if it asks those of the data, None if it asks none at all.

        The audit compares its own prompts with the training rows. In a sweep that chooses by answers, an evaluator that
        asks prompts also asks the validation rows: then `data.selecting` is set, and it asks `data.prompts`.

        Args:
            form: the format of the run, for rows that name no other format; None if there is none.

        Raises:
            FrameworkError: they cannot be read.
        """
        return None

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:  # noqa: ARG002 - one look
        """Return how many looks there may be."""
        return 1

    def look(
        self,
        number: int,  # noqa: ARG002 - the only look
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],
        seen: EvalResult | None = None,  # noqa: ARG002 - as above
    ) -> EvalResult:
        """Measure what belongs to look `number`, from 1, and take from `seen`, an earlier look, what it has."""
        return self.evaluate(model, data, metrics)

    def decided(self, results: Results, confidence: float) -> bool:  # noqa: ARG002 - one look
        """Whether these looks at base and trained model, and the changes between them, say enough."""
        return True
