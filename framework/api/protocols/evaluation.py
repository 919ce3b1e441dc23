"""What looks through data, scores answers and measures a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.audit import AuditData
    from framework.api.data import Data
    from framework.api.plan import Selection
    from framework.api.protocols.model import Model
    from framework.api.records import Answered, EvalResult, Finding, MeasureKind, Prompt, Scores


@runtime_checkable
class Audit(Protocol):
    """An option of `audit=`."""

    def audit(self, data: AuditData) -> Iterable[Finding]:
        """Look through the data and give what was found; nothing where all is well.

        The rows come in batches and may be gone through more than once. Keep no more than a few numbers of each:
        there may be millions.
        """


@runtime_checkable
class CleaningAudit(Protocol):
    """An audit that can write the rows that its findings leave."""

    def clean(self, data: AuditData) -> Iterable[Finding]:
        """Write them where the config says so, and say what was written; nothing where it does not.

        Every run calls it, `audit` only where its findings of the same rows are not kept.

        Raises:
            FrameworkError: they cannot be written.
        """


@runtime_checkable
class Metric(Protocol):
    """An option of `metric=` that looks at the text of one answer. It may be a `MetricWithUnit` too."""

    higher_is_better: bool
    needs_reference: bool

    def score(self, answer: str, reference: str | None) -> float:
        """Score one answer; the mean over all answers is reported."""


@runtime_checkable
class MetricWithUnit(Protocol):
    """A metric whose number has a unit; one between 0 and 1 without a unit is a share, and is shown in percent."""

    unit: str


@runtime_checkable
class MetricWithKind(Protocol):
    """A metric that names its kind. Any other metric measures `content` if it needs a reference, else `form`."""

    kind: MeasureKind


class AnswerMetric(ABC):
    """An option of `metric=` that needs more than the text of an answer, or all answers at once. Subclass it.

    Attributes:
        higher_is_better: whether a higher value is better.
        needs_reference: it is given only answers to prompts with a reference.
        needs_log_probs: `Answered.reference_log_probs` is filled. The model reads every reference for that.
        exponential: the scores are logarithms; the number that is reported is e to the power of their mean.
        unit: of the number; one between 0 and 1 without a unit is a share, and is shown in percent.
    """

    higher_is_better: bool = True
    needs_reference: bool = False
    needs_log_probs: bool = False
    exponential: bool = False
    unit: str = ""

    @abstractmethod
    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Score the answers of one evaluation, at least one; one that cannot be scored has None.

        It is called for the base model and again for the trained one.
        """


@runtime_checkable
class ComparingMetric(Protocol):
    """A metric that can also compare the answers of the trained model with those of the base, as a judge does.

    Attributes:
        compares: whether it does so in this run.
    """

    compares: bool

    def compare(self, before: Sequence[Answered], after: Sequence[Answered]) -> Scores:
        """Compare answers to the same prompts: 1 where `after` is better, 0 where `before` is, 0.5 where neither is."""


AnyMetric = Metric | AnswerMetric
"""A metric of either kind, as an evaluator gets it; `framework.api.scoring` calls both."""


@runtime_checkable
class Evaluator(Protocol):
    """An option of `evaluator=`."""

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Measure the model as it stands."""


@runtime_checkable
class AsksPrompts(Protocol):
    """An evaluator that asks the prompts of the data, or prompts of its own instead.

    The audit compares its own prompts with the training rows. A sweep that chooses by answers has it ask the validation
    rows too: then `data.selecting` is set, and it asks `data.prompts`.
    """

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt]:
        """Return the prompts of its own; none where it asks those of the data.

        Args:
            form: the format of the run, for rows that name no other; None if there is none.

        Raises:
            FrameworkError: they cannot be read.
        """
