"""The results of the stages after the data, and the report that holds them all."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

from framework.api.records.data import DataResult
from framework.api.records.health import TrainingIssue
from framework.api.records.saving import FORMER_NAME, VERBATIM
from framework.api.schema import Aspect

__all__ = [
    "Ancestor",
    "Artifact",
    "Change",
    "Concern",
    "EvalResult",
    "ExpertUse",
    "ExportResult",
    "Measure",
    "MeasureKind",
    "Objective",
    "Origin",
    "Outcome",
    "Report",
    "Results",
    "RewardRise",
    "Sample",
    "Step",
    "Table",
    "Tone",
    "TrainResult",
    "Verdict",
]


class MeasureKind(Enum):
    """What a measure looks at. Only `content` can show that a task was learned.

    `content` compares answers with what they should be, `form` looks at any other property of an answer, such as its
    length or whether it is JSON, `loss` at the probability of given texts, and `change` at how far the model is from
    its base.
    """

    content = "content"
    form = "form"
    loss = "loss"
    change = "change"


class Tone(Enum):
    """What a sentence of the verdict says: a gain, a loss, a problem, or neither."""

    good = "good"
    lost = "lost"
    flagged = "flagged"
    neutral = "neutral"


class Outcome(Enum):
    """The outcome of a change.

    `no_worse`: no significant difference, and a fall by more than `Change.margin` is ruled out. `undecided`: no
    significant difference, but such a fall is not ruled out. `unknown`: nothing could be compared.
    """

    better = "better"
    worse = "worse"
    no_worse = "no worse than the margin"
    undecided = "no significant difference"
    unknown = "cannot tell"


@dataclass(frozen=True)
class Sample:
    """One prompt, its answer and the score of each metric that could score it, with the evaluator that asked it."""

    prompt: str = field(metadata=VERBATIM)
    answer: str = field(metadata=VERBATIM)
    reference: str | None = field(metadata=VERBATIM)
    stopped: bool
    scores: dict[str, float]
    tokens: int = 0
    evaluator: str = ""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a number of an evaluation is about, and so a change of it too.

    Attributes:
        higher_is_better: whether a higher value is better.
        aspect: what it is about.
        unit: of the values. A value between 0 and 1 without one is a share, and is shown in percent.
        kind: what it looks at: a measure without content is never a gain by itself.
        early: whether it comes from a look after which more items could have been asked.
        item: the word for one of its items.
        compared: whether its items come from a comparison, with the base or of two answers: 0 lost, 0.5 even, 1 won.
            The base would have 0.5 for each, so it is not measured.
    """

    higher_is_better: bool = False
    aspect: Aspect = Aspect.task
    unit: str = ""
    kind: MeasureKind = MeasureKind.form
    early: bool = False
    item: str = "prompt"
    compared: bool = False

    def is_share(self, value: float, name: str) -> bool:
        """Whether a number is shown in percent: one between 0 and 1 that is not a loss and has no unit."""
        return not self.unit and not name.endswith("loss") and 0 <= value <= 1


@dataclass(frozen=True)
class Measure(Quantity):
    """One number of an evaluation.

    `items` are the values of the single questions or texts, in the same order in every evaluation, None if one is not
    available; `weights` are their weights, all 1 if there are none. `value` is their mean or, if `exponential` is set,
    e to the mean, as for a perplexity. Without items, the significance of the value is unknown. `where` has the place
    of the row of each item, if it has one; `stderr` is the standard error of the value, if the evaluator gives one.

    An item that is None although it has a weight was asked and has no score: a comparison counts it against whatever it
    would show. An item with the weight 0 was not asked. `clusters` has a number for each item, the same for similar
    items, which count as one in a test; empty if all are different. `look_share`: if items are asked in stages, a look
    at them may use this share of the level, so it needs a higher confidence, `this_look`.

    Of a metric that compares texts with references: `content` has the items if only the content of an answer counts:
    its sentence, case, Markdown, units and prefixes are ignored if that is better; empty if it never is; `constant` is
    the one answer to all questions that would score best, or names the answers given to other questions, with its
    `constant_items`; `answers` is how many different answers there are. `rival` names another model that learned from
    the same rows, such as a linear one, and `rival_items` are its scores: a gain of content has to exceed them too.

    `evaluator` gave it; empty for losses of validation rows.
    """

    value: float
    items: list[float | None] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    exponential: bool = False
    where: list[str] = field(default_factory=list)
    stderr: float | None = None
    clusters: list[int] = field(default_factory=list, metadata={FORMER_NAME: "groups"})
    content: list[float | None] = field(default_factory=list)
    constant: str = ""
    constant_items: list[float | None] = field(default_factory=list)
    answers: int = 0
    rival: str = ""
    rival_items: list[float | None] = field(default_factory=list)
    look_share: float = 1.0
    evaluator: str = ""

    def without_controls(self) -> Measure:
        """Return it without its controls."""
        return replace(self, content=[], constant="", constant_items=[], answers=0, rival="", rival_items=[])

    def this_look(self, confidence: float) -> float:
        """Return the confidence that this look needs for all of them together to have `confidence`.

        It is that of independent looks, which is enough for looks at growing data (Sidak 1967, Journal of the American
        Statistical Association 62, 626-633).
        """
        return float(confidence**self.look_share)

    EVAL_LOSS: ClassVar[str] = "eval_loss"
    """The measure that is the loss of the validation rows."""
    LOSSES: ClassVar[tuple[str, ...]] = (EVAL_LOSS, "train_loss")
    """Measures of a training, of which less is better."""
    VS_RANDOM: ClassVar[str] = "_vs_random"
    """The suffix of a metric that compares the trained model with one that learned a random choice of answers."""
    WINS: ClassVar[str] = "_wins"
    """The suffix of a metric that compares the answers with those of the base: `judge_wins`."""


@dataclass(frozen=True)
class ExpertUse:
    """How often the experts of a mixture were chosen in the validation rows.

    `chosen` is how many experts each of the `tokens` goes to. `counts` has the tokens of each expert, and `in_texts` in
    how many of the `texts` it was chosen, by the name of the layer. A text is a row, without the beginning that it
    shares with others if that was computed once.
    """

    tokens: int
    texts: int
    chosen: int
    counts: dict[str, list[int]] = field(metadata=VERBATIM)
    in_texts: dict[str, list[int]] = field(metadata=VERBATIM)


@dataclass(frozen=True)
class Table:
    """A table of an evaluation, for the report.

    Attributes:
        title: what it shows.
        columns: their names.
        rows: a cell for each column: text, a share, or None.
        note: how it is read; empty if the title says it.
        drawn: whether the first four columns are also drawn, as points beside the diagonal: x, y and the ends of an
            interval of y, all from 0 to 1.
        evaluator: gave it.
    """

    title: str
    columns: list[str]
    rows: list[list[str | float | None]]
    note: str = ""
    drawn: bool = False
    evaluator: str = ""


@dataclass(frozen=True)
class EvalResult:
    """One evaluation of one model: its measures by name, the samples behind them, and what could not be measured.

    `selection` has the measures of the validation rows' prompts, for a sweep that chooses by them; empty if no sweep
    does. `base` has the measures of the base for which the evaluation of the trained model asked the base more than the
    baseline did; they replace those of the baseline. `base_samples` are its answers to those questions. In the baseline
    of a training that starts from a trained adapter, which measures that adapter, they are what the base gives.
    `experts` is of a mixture, `weights` a hash over the trained weights, `settings` one over those of each evaluator.
    `tables` are for the report.
    """

    measures: dict[str, Measure]
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    selection: dict[str, Measure] = field(default_factory=dict)
    base: dict[str, Measure] = field(default_factory=dict)
    base_samples: list[Sample] = field(default_factory=list)
    experts: ExpertUse | None = None
    weights: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, float]:
        """The value of each measure."""
        return {name: measure.value for name, measure in self.measures.items()}

    @property
    def figures(self) -> dict[str, float]:
        """The value of each measure and, as `NAME_stderr`, its standard error if it is known."""
        errors = {f"{name}_stderr": measure.stderr for name, measure in self.measures.items()}
        return self.metrics | {name: error for name, error in errors.items() if error is not None}


@dataclass(frozen=True)
class Step:
    """Progress of training after an optimizer step. `tokens` counts since the start, without padding.

    If there was a validation after this step, `eval_loss` is the validation loss, and `metrics` has the metrics of the
    prompts and the loss of each set of `data.validation_sets`, `eval_loss_NAME`. `repeated`: an earlier process made
    this step, and the resumed training reports it again. `loss_metrics` is what the loss measured beside its value,
    the mean since the last log entry. `samples` are some answers that the model learned from, with their rewards.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    eval_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    repeated: bool = False
    loss_metrics: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        # From JSON, or from a checkpoint.
        object.__setattr__(
            self, "samples", [Sample(**sample) if isinstance(sample, dict) else sample for sample in self.samples]
        )


@dataclass(frozen=True)
class Ancestor:
    """A trained adapter that a training started from.

    `place` is what `adapter.start` named, `run` the folder of the run that trained it, empty if it is
    unknown. `sha256` is the hash of its weights, and `base` the model that it was trained on. `merged`: it was
    kept as it is, and a new adapter was trained beside it.
    """

    place: str
    run: str
    sha256: str
    base: str
    merged: bool = False


@dataclass(frozen=True)
class RewardRise:
    """A reward during a training: its means in the first and the last third of the logged steps, and if it rose."""

    first: float
    last: float
    rose: bool


@dataclass(frozen=True)
class TrainResult:
    """The train stage. `seconds` covers the training loop only; `train_loss` is its mean loss, `last_loss` the last.

    `computed_tokens` went through the model: padding counts, and what rows share counts once. 0: not counted.
    `oom_fallbacks` says what was made smaller when memory ran out, in order; empty if it was enough. `issues` is what
    went wrong, `stopped` why the training ended before its last step, empty if it did not. `best_step` is the step of
    the best validation and `best_value` its value of `trainer.early_stopping_metric`; with `trainer.keep_best` its
    weights were kept. `resumed` is the step from which this process resumed the training of an earlier process; the
    other numbers are those of the whole training, except `oom_fallbacks` and the peak memory. `candidates` is how many
    validations the weights were chosen from, 0 if nothing was chosen, and `chosen_on` the measure whose items were
    compared. `taken_from` is the folder, relative to the run's own, of the trial of a sweep that trained with the same
    settings, and whose weights and numbers these are; empty if the run itself trained. `lineage` has the adapter that
    the training started from, the one that this was trained from, and so on; empty for a new adapter. `rewards` has the
    rewards by name. `files` has the SHA-256 of each file of the trained weights, by its path in their folder.
    """

    steps: int
    epochs: float
    train_loss: float
    last_loss: float
    seconds: float
    tokens: int
    supervised_tokens: int
    trainable_parameters: int
    total_parameters: int
    peak_memory_bytes: int
    checkpoint: str = field(metadata=VERBATIM)
    computed_tokens: int = 0
    oom_fallbacks: list[str] = field(default_factory=list)
    issues: list[TrainingIssue] = field(default_factory=list)
    stopped: str = ""
    best_step: int | None = None
    best_value: float | None = None
    resumed: int = 0
    taken_from: str = ""
    candidates: int = 0
    chosen_on: str = ""
    lineage: list[Ancestor] = field(default_factory=list)
    rewards: dict[str, RewardRise] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict, metadata=VERBATIM)


@dataclass(frozen=True)
class Artifact:
    """Something an exporter wrote; `notes` are sentences about what may be unexpected in it.

    `parity` says in one line how far it agrees with the trained model; empty if they were not compared. `use` is the
    command that uses it, with `{path}` for its path; empty if there is none.
    """

    kind: str
    path: str = field(metadata=VERBATIM)
    bytes: int
    notes: list[str] = field(default_factory=list)
    parity: str = ""
    use: str = ""


@dataclass(frozen=True)
class Origin:
    """What an exporter made the artifacts at `paths` from: hashes of the trained weights and of the settings."""

    weights: str
    settings: str
    paths: list[str] = field(metadata=VERBATIM)


@dataclass(frozen=True)
class ExportResult:
    """The export stage; `origins` has the exporters by name. Earlier artifacts that are still valid stay listed.

    `failed` has the error of each exporter that failed, by its name.
    """

    artifacts: list[Artifact]
    origins: dict[str, Origin] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Quantity):
    """A measure before and after training; `before` or `after` is None if that evaluation did not run.

    Attributes:
        before: on the base, over the items that are compared.
        after: on the trained model, over the same items.
        pairs: items that are compared.
        low: the lower bound of the difference; None if there is no interval.
        high: the upper bound.
        outcome: None if there is nothing to compare, and for measures that are neither better nor worse.
        primary: whether it decides the gain.
        p_value: of the test that before and after are the same; corrected by Holm's method for all measures but the
            primary one.
        least: the least difference that this many items show in four of five runs; None if not even the largest shows.
        margin: how much worse `no_worse` allows.
        clusters: groups of similar items that the test counts instead of items; 0 if all are different.
        missing: items for which one side has no score; they are counted against what they would show.
        not_finite: items for which one side is not a finite number.
        leaked: items that training rows answer; they are left out.
        candidates: how many sets of weights were compared on these items before; the best of them is judged here.
        answers: how many different answers the trained model gives; 0 if that is not known.
        constant: what the best answer that is the same for all questions would score; None if that is not known.
        constant_answer: that answer.
        content_before: the value before if only the content of an answer counts; None if that is not known.
        content_after: the same after the training.
        content_low: the lower bound of the difference of both; None if there is no interval.
        content_high: the upper bound.
        held_back: why the outcome is not that of `before` and `after`: `form` if it is that of the content, `constant`
            or `dealt` if a significant gain is not significantly more than `constant`, `rival` if it is not
            significantly more than that model's, `beaten` if it is significantly less; empty otherwise.
        beyond: the difference that is certain beyond the base, its content, the constant answer and the rival; None if
            `low` and `high` say it.
        rival: what another model that learned from the same rows scores; None if none was measured.
        rival_name: that model.
    """

    before: float | None
    after: float | None
    pairs: int = 0
    low: float | None = None
    high: float | None = None
    outcome: Outcome | None = None
    primary: bool = False
    p_value: float | None = None
    least: float | None = None
    margin: float | None = None
    clusters: int = 0
    missing: int = 0
    not_finite: int = 0
    leaked: int = 0
    candidates: int = 1
    answers: int = 0
    constant: float | None = None
    constant_answer: str = ""
    content_before: float | None = None
    content_after: float | None = None
    content_low: float | None = None
    content_high: float | None = None
    held_back: str = ""
    beyond: float | None = None
    rival: float | None = None
    rival_name: str = ""

    def difference(self, name: str) -> str:
        """Write the interval of the difference, `+93 to +100 points`; empty if it is not known."""
        low, high = self.low, self.high
        if low is None or high is None or self.after is None:
            return ""
        if self.is_share(self.after, name):
            return f"{round(100 * low):+d} to {round(100 * high):+d} points"  # and never -0
        return f"{low:+.3g} to {high:+.3g}"

    @property
    def outcome_text(self) -> str:
        """What the change comes to; empty if nothing was tested."""
        if self.held_back and self.outcome is Outcome.worse:
            return "worse in content"
        if self.held_back:
            return {
                "form": "better in form only",
                "constant": "no better than one answer to everything",
                "dealt": "no better than its answers to other prompts",
                "rival": f"not shown to be better than {self.rival_name}",
                "beaten": f"worse than {self.rival_name}",
            }[self.held_back]
        return self.outcome.value if self.outcome else ""


@dataclass(frozen=True)
class Concern:
    """A possible problem with the result of a run; `flagged` says whether it was found.

    `harm`, 0 to 1, is subtracted from the score of the verdict: as much as is certain, so that it grows without a jump.
    `recommendation` says what to change. `unknown` says that too little was measured to rule it out. `summary` says the
    most important of `text` in a sentence, with the bound that is known; empty if `text` is one sentence already.
    """

    name: str
    aspect: Aspect
    text: str
    recommendation: str
    flagged: bool
    harm: float = 0.0
    unknown: bool = False
    summary: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a run was worth it.

    `gained` is the outcome of the measure `primary`; `unknown` if nothing compares answers with what they should be.
    `forgot` and `copied` are None if nothing checked that, or if too little was measured. `score` is the gain of the
    primary measure, as much as is certain, minus the harm of all concerns. `summary` is the first sentence, in `tone`:
    it names what was lost before anything else. `lines` has a sentence for each aspect, each in one of the `tones`;
    `more` has the details. `unchanged`: answers and probabilities are those of the base, so the training did nothing.
    """

    gained: Outcome | None
    forgot: bool | None
    copied: bool | None
    score: float | None
    confidence: float
    concerns: list[Concern] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    primary: str = ""
    unchanged: bool = False
    summary: str = ""
    tone: Tone = Tone.neutral
    tones: list[Tone] = field(default_factory=list)

    @property
    def toned_lines(self) -> list[tuple[str, str]]:
        """Each of `lines` with the name of its tone; a report of an earlier version has no tones."""
        return [
            (line, tone.value)
            for line, tone in itertools.zip_longest(self.lines, self.tones, fillvalue=Tone.neutral)
            if isinstance(line, str)
        ]

    SCORE: ClassVar[str] = "verdict.score"
    """The objective of a sweep that is `score`."""
    PRIMARY: ClassVar[str] = "verdict.primary"
    """The objective that is the measure which decides the gain."""


@dataclass(frozen=True)
class Objective:
    """The value that a run returns to a sweep."""

    name: str
    value: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class Report:
    """The whole run, as `report.json`; docs/reference/report.md explains each field."""

    name: str
    run_dir: str
    finished: str
    objective: Objective
    metrics: dict[str, Change]
    train: TrainResult | None
    tokens_per_second: float | None
    supervised_tokens_per_second: float | None
    seconds: dict[str, float]
    peak_memory_bytes: int | None
    hardware: dict[str, str]
    versions: dict[str, str]
    artifacts: list[Artifact]
    data: DataResult | None = None
    verdict: Verdict | None = None
    schema_version: int = 5
    failed_exports: dict[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """A sentence on what the run was worth, what was lost first; empty if nothing was judged."""
        return self.verdict.summary or next(iter(self.verdict.lines), "") if self.verdict else ""


@dataclass(frozen=True)
class Results:
    """What a run has measured.

    Attributes:
        before: the base; None if it was not asked, or was asked other things than the tuned model.
        after: the tuned model.
        trained: the training; None if this folder has none.
        changes: each measure before and after, as the verdict compares them.
    """

    before: EvalResult | None
    after: EvalResult
    trained: TrainResult | None = None
    changes: Mapping[str, Change] = field(default_factory=dict)
