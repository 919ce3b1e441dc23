"""The options of `format=`, `method=`, `audit=`, `evaluator=` and the command that are called `decide`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from framework.api import Affects, AuditConfig, DataConfig, EvaluatorConfig, ExporterConfig, FormatConfig
from framework.api.program import CommandConfig
from framework.api.training import MethodConfig, PassCost, Role

OF_LOSS = ~(Affects.rows | Affects.data | Affects.audit | Affects.baseline)
"""Marks a setting that changes only the loss, so that the trials of a sweep share rows and baseline."""
QUESTION = "Which of these options fits? Answer with the option only.\n{options}\n\n{text}"
TEXT, OPTIONS = "{text}", "{options}"
"""What a question is filled in with."""
ACCURACY, LOG_SCORE, MASS = "option_accuracy", "option_log_score", "option_mass"
"""What the method measures of validation rows."""
WEIGHT = "option_weight"
"""The fact of a row: the weight of its label."""
PLACE = "option_place"
"""The fact of a row: the place of its label among the options."""
CONFIDENCE = "confidence"
"""The measure that is the probability of each decision."""
PREFIX = "decision_"
"""What the names of the evaluator's measures begin with."""


@dataclass
class DecideFormatConfig(FormatConfig):
    """A text with one of several labels, or a question with options of its own and the one that is right."""

    guessed: ClassVar[bool] = False
    labels: list[str] = field(default_factory=list)
    """The options, in the order of label ids: `[negative, positive]`. Not for rows with options of their own."""
    names: dict[str, str] = field(default_factory=dict)
    """Options for labels that the rows write in another way: `{POS: positive, NEG: negative}`."""
    scale: bool = False
    """Whether the options are a scale, in their order."""
    question: str = QUESTION
    """What the model is asked; {options} becomes a list of the options, {text} the text of the row."""

    def options(self) -> int:
        """Return how many options each row has; rows with options of their own are not known here."""
        return len(self.labels)


@dataclass
class TicketsConfig(DataConfig):
    """480 made-up messages to a shop with one of five labels, and 600 held-out ones in other sentences."""

    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.05
    """Share of the rows held out for the validation loss, drawn with `data.seed`. 0 holds out none."""


class Score(Enum):
    """A proper score of probabilities: the best answer to it is what one believes."""

    log = "log"
    brier = "brier"
    ranked = "ranked"


@dataclass
class DecideConfig(MethodConfig):
    """Decisions: the right one of a row's options becomes likelier than the others, which share one pass."""

    roles: ClassVar[tuple[Role, ...]] = (Role.answer, Role.rejected)
    own_objective: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    described: ClassVar[tuple[str, ...]] = ("score", "mass_weight")
    score: Annotated[Score, OF_LOSS] = Score.log
    """The loss: the log score of the right option, the Brier score over all, or the ranked probability score of a
    scale."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=0.5), OF_LOSS] = 0.0
    """Share of the target that all options divide between them."""
    class_weights: dict[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    """Weights of rows by their label, `{fraud: 5}`; 1 without an entry."""
    mass_weight: Annotated[float, Ge(0), OF_LOSS] = 0.1
    """Weight of the term that keeps the probability on the options, so that the model also answers with one of them in
    a chat; with 0 only the ratios between options are learned."""

    def cost(self) -> PassCost:
        """Return what a row takes if its options share its prompt, which is most of it; see `chooses` if not."""
        return PassCost(rows=2)

    def measures(self) -> tuple[str, ...]:
        """Return the names of what is measured of held-out rows."""
        return LOG_SCORE, ACCURACY, MASS


@dataclass
class DecideAuditConfig(AuditConfig):
    """Options that are easily confused, labels of one row or of held-out rows only, and ids without names."""


@dataclass
class DecideEvaluatorConfig(EvaluatorConfig):
    """Decisions on held-out rows: accuracy, proper scores, calibration, and a threshold that keeps a promised error.

    One part of the rows fits the temperature and the threshold, and the other part is measured. With scikit-learn
    installed, a linear model of words that learned from the training rows is measured beside.
    """

    max_error: Annotated[float, Interval(gt=0, lt=1)] = 0.05
    """The promise: of the decisions above the threshold, at most this share is wrong."""
    confidence: Annotated[float, Interval(ge=0.5, lt=1)] = 0.95
    """How often the promise is kept, over draws of the rows that the threshold is fitted to."""
    calibration: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """The share of the rows that temperature and threshold are fitted to, and nothing else."""

    def measures(self) -> tuple[str, ...]:
        scores = "accuracy", "log_score", "brier", "ece", "ece_by_chance", CONFIDENCE, "mass", "distance", "ranked"
        names = *scores, "temperature", "threshold", "answered", "wrong"
        return tuple(f"{PREFIX}{name}" for name in names)

    def asks(self, prompts: int) -> int:
        """Return how many rows it measures."""
        return round(prompts * (1 - self.calibration))


@dataclass
class DecideExporterConfig(ExporterConfig):
    """How an exported model is asked for decisions: question, options, temperature and threshold, as JSON."""

    file: str = "decide.json"
    """Name of the file inside the run folder."""


@dataclass
class DecideCommandConfig(CommandConfig):
    """Let the model of a run decide: the option for each text, its probability, and whether it is sure.

    The texts are arguments, the rows of a CSV file with a header, or the lines of standard input.
    """

    usage = "RUN_DIR [TEXT ...]"


@dataclass
class LearningCurveConfig(CommandConfig):
    """Say what more rows would bring: "500 more rows: about +2.0 points", with an interval.

    It takes three runs or more of `evaluator=decide` that differ in their training rows and share the held-out ones.
    """

    usage = "RUN_DIR RUN_DIR RUN_DIR ..."


def unknown_labels(labels: list[str], names: dict[str, str], weights: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Give the settings that name an option which is not among `labels`, each with that option."""
    for setting, options in (("format.names", names.values()), ("method.class_weights", weights)):
        yield from ((setting, option) for option in options if option not in labels)
