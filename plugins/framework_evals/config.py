"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

from annotated_types import Gt, Interval, Len
from omegaconf import MISSING

from framework.schema import EvaluatorConfig, MetricConfig


@dataclass
class PromptsConfig(EvaluatorConfig):
    """The same prompts before and after training: your own, or the data's, or else validation rows."""

    file: Annotated[str | None, Len(1)] = None
    """Prompts of your own, all of which are asked: a file of rows in any format that `format=` reads, with or without
    answers, or a .txt file with one prompt a line. An answer is the reference."""
    prompts: list[Any] = field(default_factory=list)
    """The same inline: texts, `["Name a river", "Add 1 and 1"]`, or rows, `[{prompt: Add 1 and 1, reference: two}]`."""
    format: Annotated[str | None, Len(1)] = None
    """An option of `format=` for rows of your own; by default that of the run, or `auto` for rows it does not fit."""
    count: Annotated[int, Gt(0)] = 30
    """How many of the data's own prompts, from the first, or of the validation rows, taken from all over by `seed`."""
    max_new_tokens: Annotated[int, Gt(0)] = 128
    """Longest answer in tokens."""
    batch_size: Annotated[int, Gt(0)] = 16
    """Prompts answered at once."""

    def measures(self) -> tuple[str, ...]:
        """Whether answers end by themselves is measured in any case."""
        return ("stopped",)


@dataclass
class ExactMatchConfig(MetricConfig):
    """1 where the answer is the reference, white space around them left out."""

    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class JsonValidConfig(MetricConfig):
    """1 where the whole answer is JSON, without a fence or a word around it, and satisfies the schema, if any."""

    schema: Any = None
    """A JSON Schema: a file, or the schema itself, `{type: object, required: [name]}`."""


@dataclass
class RegexConfig(MetricConfig):
    """1 where the answer matches a regular expression."""

    pattern: str = MISSING
    """The regular expression, as Python writes it."""
    full: bool = False
    """Match the whole answer, white space around it left out, and not just some part of it."""
    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class TokenF1Config(MetricConfig):
    """F1 of the words that answer and reference share, from 0 to 1, with SQuAD's normalisation."""


class RougeKind(Enum):
    """What ROUGE compares: words, pairs of words, or the longest common subsequence."""

    rouge1 = "rouge1"
    rouge2 = "rouge2"
    rougeL = "rougeL"  # noqa: N815 - the field's name


class RougeWords(Enum):
    """What a word is to ROUGE."""

    latin = "latin"
    unicode = "unicode"


@dataclass
class RougeConfig(MetricConfig):
    """ROUGE, the F-measure, from 0 to 1."""

    kind: RougeKind = RougeKind.rougeL
    """Words, pairs of words, or the longest common subsequence of words."""
    words: RougeWords = RougeWords.latin
    """`latin`: a to z and 0 to 9, as in published figures; other letters are no words. `unicode`: of every script."""
    stemmer: bool = False
    """Compare the stems of English words, by Porter; with `words=latin` alone."""


class BleuWords(Enum):
    """How BLEU cuts a text into words."""

    mteval = "13a"
    intl = "intl"
    zh = "zh"
    char = "char"
    none = "none"


@dataclass
class BleuConfig(MetricConfig):
    """Sentence BLEU with effective order by sacrebleu, as a share of its 100 points: 0.27 is BLEU 27."""

    tokenize: BleuWords = BleuWords.mteval
    """sacrebleu's tokenizer: mteval (its 13a, the usual one), intl, zh for Chinese, char, or none (spaces)."""
    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class ChrfConfig(MetricConfig):
    """chrF of each answer by sacrebleu, as a share of its 100 points; needs no words, so it suits every language."""

    word_order: Annotated[int, Interval(ge=0, le=4)] = 0
    """n-grams of words beside those of characters: 0 is chrF, 2 is chrF++."""
    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class PerplexityConfig(MetricConfig):
    """Perplexity of the references, given the prompts, by the model itself."""


class Aim(Enum):
    """Which lengths are better."""

    shorter = "shorter"
    longer = "longer"


@dataclass
class LengthConfig(MetricConfig):
    """Tokens of the answer."""

    aim: Aim = Aim.shorter
    """Which way is up for a sweep and the verdict."""


@dataclass
class StoppedConfig(MetricConfig):
    """1 where the model ended its answer by itself; measured in any case, an option so that it can be the objective."""


@dataclass
class JudgeConfig(MetricConfig):
    """A grade by another model, through any OpenAI-compatible chat endpoint."""

    base_url: str = MISSING
    """Where the endpoint is, `http://localhost:11434/v1`; `/chat/completions` is added."""
    model: str = MISSING
    """The judge's name there."""
    prompt: Annotated[str | None, Len(1)] = None
    """What is asked, with {question}, {answer} and {reference}, {lowest} and {highest}. By default one of our own."""
    lowest: float = 1
    """The worst grade."""
    highest: float = 10
    """The best grade; the judge has to reply with one number from `lowest` to `highest`."""
    key_env: Annotated[str | None, Len(1)] = None
    """The name of the environment variable that holds the key, OPENAI_API_KEY; never the key itself."""
    timeout: Annotated[float, Gt(0)] = 60.0
    """Seconds that a reply may take."""
    concurrency: Annotated[int, Interval(ge=1, le=64)] = 4
    """Requests at a time."""
    retries: Annotated[int, Interval(ge=0, le=10)] = 2
    """How often a request is sent again that failed for a reason that may pass."""
    request: dict[str, Any] = field(default_factory=dict)
    """More fields of the request, `{max_tokens: 16}`; they win over those that are sent anyway."""
