"""From a raw row of a data set to token ids; prompts and answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from framework.api.conversations import ANSWER, BEGIN_CALL, BEGIN_THOUGHT, END_CALL, END_THOUGHT, SKIP, TAGGED_THOUGHT
from framework.api.schema import Role, Thoughts
from framework.util.errors import FrameworkError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "IGNORE",
    "Answer",
    "Answered",
    "Episode",
    "Example",
    "GroupedRows",
    "Message",
    "Prompt",
    "RawData",
    "Rewards",
    "Row",
    "Sampled",
    "Scored",
    "Scores",
    "TextForm",
    "TokenGroup",
    "TokenRow",
    "ToolCall",
]

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ToolCall:
    """A function that the assistant calls."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user, assistant or tool.

    `reasoning_content` is what the assistant thought before it answered, `name` and `tool_call_id` say which call a
    tool's turn answers. An assistant's turn that is not `learned` is context only.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    tool_call_id: str = ""
    reasoning_content: str = ""
    learned: bool = True

    BEGIN_CALL: ClassVar[str] = BEGIN_CALL
    BEGIN_THOUGHT: ClassVar[str] = BEGIN_THOUGHT
    END_THOUGHT: ClassVar[str] = END_THOUGHT

    @staticmethod
    def split_thought(text: str) -> tuple[str, str]:
        """Return the thought that an answer begins with, and the rest; a thought that never ends is the answer."""
        match = TAGGED_THOUGHT.match(text)
        return (match[1].strip(), text[match.end() :]) if match else ("", text)


@dataclass(frozen=True)
class Row:
    """One raw row of a data set and its place, `orders.jsonl:12`. A row that cannot be read has a `problem`."""

    fields: Mapping[str, Any]
    where: str
    problem: str = ""


@dataclass(frozen=True)
class RawData:
    """The rows of a source. An empty `validation` is split off `train`, empty `prompts` are drawn from validation.

    The rows are read as they are iterated over, and may be iterated over again. `key` identifies their content, such as
    a hash over the bytes of the files; empty: the rows are hashed one by one. `streamed` says that the rows come over a
    network as they are needed, so that they are not read twice without need. `places` are the names of files as in
    `Row.where`: cached rows are reported by these names. `notes` are sentences about the rows for the user, such as
    which files are left out.
    """

    train: Iterable[Row]
    validation: Iterable[Row] = ()
    prompts: Iterable[Row] = ()
    key: str = ""
    streamed: bool = False
    places: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A conversation to learn from: the canonical form behind every format.

    Attributes:
        messages: the turns; empty if `text` is given.
        format: the option of `format=` that made it.
        where: the place of its row.
        tools: JSON schemas of the functions that the assistant may call.
        rejected: for a preference pair, the turns that were not preferred, instead of those from the first learned
            answer on; supervised training does not use them.
        text: plain text that is learned from its first to its last token, without a chat template.
        cluster: what `format.cluster` says the row belongs to, such as a customer; empty if nothing.
        facts: numbers about the row that an objective reads: a label, a reward, a weight.
        arrays: a row of numbers for each learned token, stop token included: a teacher's top ids and log-probabilities.
        columns: the fields of its row as the source gives them, for rewards; empty in a run without any.
        options: the answers of which one is right, in their order, for a method that chooses one of them.
    """

    messages: tuple[Message, ...]
    format: str
    where: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[Message, ...] = ()
    text: str | None = None
    cluster: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    SEPARATOR: ClassVar[str] = "\x1e"
    """Separates answers: the record separator of ASCII, which does not occur in texts."""

    @property
    def is_prompt(self) -> bool:
        """Whether it ends without an answer: it is written as inference is given it, and nothing is learned."""
        return bool(self.messages) and self.messages[-1].role != "assistant"

    def check_answered(self) -> None:
        """Check that a conversation ends with an answer and that an answer is learned; plain text is.

        Raises:
            FrameworkError: it is not.
        """
        messages = self.messages
        if self.text is not None:
            return
        if not messages or messages[-1].role != "assistant":
            end = f"ends with '{messages[-1].role}'" if messages else "has no turns"
            raise FrameworkError(f"a conversation has to end with an assistant's turn, and this one {end}{SKIP}")
        if not any(turn.learned for turn in messages if turn.role == "assistant"):
            raise FrameworkError(
                "no assistant's turn is learned: each has weight 0, or is in the prompt, which has to end with the "
                "user's"
            )

    # Templates of reasoning models drop the thoughts of earlier answers once turns follow, so those in a row have a
    # form that is never generated.
    def for_each_answer(self) -> Iterator[Example]:
        """Yield a conversation for each learned answer: the turns up to it, with only this answer learned.

        These belong together, so they stay on one side of the split and the verdict counts them as one. A conversation
        with one answer, a prompt, or plain text stays as it is.
        """
        learned = [n for n, turn in enumerate(self.messages) if turn.role == "assistant" and turn.learned]
        if not learned[1:] or self.is_prompt:
            yield self
            return
        context = [replace(turn, learned=turn.role != "assistant") for turn in self.messages]
        cluster = self.cluster or self.where
        for ordinal, index in enumerate(learned, start=1):
            yield Example(
                (*context[:index], self.messages[index]),
                self.format,
                f"{self.where}{ANSWER}{ordinal}",
                self.tools,
                self.rejected if index == len(self.messages) - 1 else (),
                cluster=cluster,
                facts=self.facts,
                columns=self.columns,
                options=self.options if index == len(self.messages) - 1 else (),
            )

    def with_thoughts(self, thoughts: Thoughts) -> Example:
        """Return the conversation with its thoughts where `format.thoughts` puts them; plain text stays as it is.

        Thoughts are `reasoning_content`, and the text between `<think>` and `</think>` at the beginning of an answer.
        """
        if thoughts is Thoughts.keep or self.text is not None:
            return self
        parts = self.messages, self.rejected
        messages, rejected = (tuple(_move_thought(turn, thoughts) for turn in turns) for turns in parts)
        return replace(self, messages=messages, rejected=rejected)


def _move_thought(turn: Message, thoughts: Thoughts) -> Message:
    if turn.role != "assistant":
        return turn
    tagged, content = Message.split_thought(turn.content)
    thought = turn.reasoning_content.strip() or tagged
    if thoughts is Thoughts.inline and thought:
        return replace(turn, content=f"{BEGIN_THOUGHT}\n{thought}\n{END_THOUGHT}\n\n{content}", reasoning_content="")
    return replace(turn, content=content, reasoning_content=thought if thoughts is Thoughts.field else "")


def call_text(calls: Iterable[ToolCall]) -> str:
    """Write calls as most models do: each as JSON between `<tool_call>` and `</tool_call>`."""
    plain = (json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False) for call in calls)
    return "\n".join(f"{BEGIN_CALL}\n{text}\n{END_CALL}" for text in plain)


IGNORE = -100
"""The label of a token that is not learned: the one that torch's cross entropy ignores."""


@dataclass(frozen=True)
class TokenRow:
    """A tokenized example. `labels` has the id of each learned token and -100 for any other; the lengths are equal.

    A row is also the `TokenGroup` that has no other row and nothing besides it, at no cost.

    `problem` says why the row does not teach what inference will do; empty if it is proven that it does. An answer is
    `normalized` if its tokens stand for other characters of the same meaning, such as 2 for a superscript 2.
    """

    input_ids: list[int]
    labels: list[int]
    where: str = ""
    problem: str = ""
    normalized: bool = False

    IGNORE: ClassVar[int] = IGNORE
    """The label of a token that is not learned: the one that torch's cross entropy ignores."""

    @staticmethod
    def set_of(where: str) -> str:
        """Return the name of the validation set of a row: its place begins with the name. See `Plan.set_losses`."""
        return where.partition("/")[0]

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned."""
        return sum(label != IGNORE for label in self.labels)

    @property
    def learned(self) -> list[int]:
        """The learned tokens that an objective sees: nothing is before the first token, so nothing predicts it."""
        return [label for label in self.labels[1:] if label != IGNORE]

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Itself."""
        return (self,)

    @property
    def roles(self) -> tuple[Role, ...]:
        """It is an answer."""
        return _ANSWER

    @property
    def facts(self) -> Mapping[str, float]:
        """None."""
        return NOTHING

    @property
    def arrays(self) -> Mapping[str, tuple[NDArray[Any], ...]]:
        """None."""
        return NOTHING

    @property
    def answer(self) -> TokenRow:
        """Itself."""
        return self


_ANSWER = (Role.answer,)


class TokenGroup(Protocol):
    """The token rows that one term of a loss reads together: one for supervised training, two for a pair."""

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """The rows; at least one."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The role of each row."""

    @property
    def facts(self) -> Mapping[str, float]:
        """Numbers about the group: a label, a reward, a weight."""

    @property
    def arrays(self) -> Mapping[str, tuple[NDArray[Any], ...]]:
        """For each row a row of numbers for each of its `TokenRow.learned` tokens: (learned tokens, width)."""

    @property
    def answer(self) -> TokenRow:
        """The row that the validation loss and the evaluators read."""

    @property
    def where(self) -> str:
        """The place of the row of the data."""


@dataclass(frozen=True)
class GroupedRows:
    """A `TokenGroup` of several rows, or of one with facts or arrays."""

    rows: tuple[TokenRow, ...]
    roles: tuple[Role, ...] = _ANSWER
    facts: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, tuple[NDArray[Any], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows or len(self.roles) != len(self.rows):
            raise ValueError(f"a group has {len(self.rows)} rows and {len(self.roles)} roles")

    @property
    def answer(self) -> TokenRow:
        """The first row that is an answer, or else the first."""
        return self.rows[self.roles.index(Role.answer)] if Role.answer in self.roles else self.rows[0]

    @property
    def where(self) -> str:
        """The place of the row of the data."""
        return self.rows[0].where


@dataclass(frozen=True)
class Prompt:
    """A question for the evaluation and, if it is known, the expected answer.

    `where` is the place of its row, `cluster` what it belongs to, `facts`, `columns` and `options` are those of the
    row, as in `Example`. `calls` are those of the expected answer, which `reference` has as text.
    """

    messages: tuple[Message, ...]
    reference: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    where: str = ""
    cluster: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[ToolCall, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A model's answer; `stopped` says whether it ended by itself, `ids` are its tokens without the stop token.

    `calls` are the calls of tools that a parser of the model's own format reads in it.
    """

    text: str
    tokens: int
    stopped: bool
    ids: tuple[int, ...] = ()
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Episode:
    """How an answer was made in an environment with tools.

    Attributes:
        turns: what the model wrote and what its tools returned, as chat templates read messages.
        environment: as it is after the answer.
        rewards: the environment's own reward, under the name of its class; empty if it has none.
        calls: of tools.
        failed: of these, the calls that raised.
    """

    turns: tuple[Mapping[str, Any], ...]
    environment: Any
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    calls: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sampled(Answer):
    """An answer that was drawn from the model, with what a training needs to learn from it.

    Attributes:
        row: prompt and answer, as the model read and wrote them. The labels are of the tokens that it wrote itself,
            the stop token included; the output of a tool is not among them.
        log_probs: for each of these tokens its log-probability in nats, at the temperature of the draw.
        episode: how it was made, if the run has an environment.
    """

    row: TokenRow
    log_probs: tuple[float, ...]
    episode: Episode | None = None

    DRAWN_LOG_PROBS: ClassVar[str] = "drawn_log_probs"
    """An array of answers that are learned: log-probabilities as they were drawn."""
    OLD_LOG_PROBS: ClassVar[str] = "old_log_probs"
    """The same as the trainer computes them with the weights of the draw, if those have changed since."""
    IMPORTANCE_RATIO: ClassVar[str] = "importance_sampling_ratio"
    """The array of what the loss of each token is multiplied by: it was drawn with other log-probabilities."""
    DRAW_DIFFERENCE: ClassVar[str] = "sampling_logp_difference"
    """The metric of an objective by which a trainer checks that both are of the same weights: the mean of
    |difference|."""

    @property
    def written(self) -> list[int]:
        """All tokens after the prompt: its own, the stop token included, and the output of tools."""
        labels = self.row.labels
        begin = next((index for index, label in enumerate(labels) if label != IGNORE), len(labels))
        return self.row.input_ids[begin:]


@dataclass(frozen=True)
class Rewards:
    """The rewards of some answers.

    Attributes:
        total: of each answer the weighted sum of the rewards that it has; None if it has none.
        items: of each reward, by its name, a number for each answer, before its weight; None if it gives none.
        weights: the weight of each reward.
        metrics: numbers that the rewards log, by name.
        columns: what they say of each answer, by name.
    """

    total: list[float | None]
    items: Mapping[str, list[float | None]]
    weights: Mapping[str, float]
    metrics: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class TextForm:
    """How a model reads plain text, without a chat template.

    `begin` are the token ids that its tokenizer puts before each text, `prefix` is the token before the first one if
    there is nothing else, and `longest` is the most tokens that it can read.
    """

    begin: tuple[int, ...]
    prefix: int
    longest: int


@dataclass(frozen=True)
class Scored:
    """The learned tokens of a row, in their order: the log-probability of each in nats, and the likeliest token there.

    A learned first token is left out: nothing comes before it, so nothing predicts it.
    """

    log_probs: list[float]
    top: list[int]


@dataclass(frozen=True)
class Answered:
    """An answer as a metric sees it.

    Attributes:
        question: the prompt as one text, turns with their roles if there are several.
        answer: what the model said.
        reference: what it should have said, if that is known.
        tokens: length of the answer, the stop token left out.
        stopped: whether it ended by itself.
        reference_log_probs: natural logarithm of the probability that the model gives each token of the reference,
            including the stop token; None if no metric needs it, there is no reference, or it cannot be masked.
        where: the place of the prompt's row; empty if it has none.
        cluster: what the row belongs to, as in `Example`.
    """

    question: str
    answer: str
    reference: str | None
    tokens: int
    stopped: bool
    reference_log_probs: tuple[float, ...] | None = None
    where: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Scores:
    """The scores that a metric gives: one for each answer, None if it has none for it.

    `weights`, if given, says how much each score counts in the mean. `notes` are sentences for the user.
    """

    items: list[float | None]
    weights: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
