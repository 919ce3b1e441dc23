"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Len
from omegaconf import MISSING

from framework.api import Aspect, EvaluatorConfig, Message, MetricConfig, NamesCode
from framework.api.program import CommandConfig

ACCURACY = "general_accuracy"
PROBABILITY = "general_probability"
DIVERGENCE = "general_divergence"
EXTRA = "framework-finetune[evals]"
"""What installs lm-eval, and the libraries of some metrics."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A word of any script; of Chinese and Japanese, which put no spaces between words, each character is one."""
CALL = re.compile(r'\s*\[?\s*\{\s*"name"\s*:\s*"[^"]*"\s*,\s*"(arguments|parameters)"\s*:\s*\{')
"""A call as JSON, or a list of calls."""
SHORT = 3
"""Words of a reference that an answer may well repeat exactly."""


@dataclass
class PromptsConfig(EvaluatorConfig):
    """The same prompts before and after training: your own, the data's, or else validation rows."""

    file: Annotated[str | None, Len(1)] = None
    """Your own prompts, all of which are asked: rows in any format that `format=` reads, whose answers are the
    references, or a .txt file with one prompt per line."""
    prompts: list[Any] = field(default_factory=list)
    """Your own prompts inline: texts, `["Add 1 and 1"]`, or rows, `[{prompt: Add 1 and 1, reference: two}]`."""
    format: Annotated[str | None, Len(1)] = None
    """An option of `format=` for your own rows; default: the run's, or `auto` for rows that do not fit it."""
    first: Annotated[int, Gt(0)] = 20
    """How many prompts to ask first; more only while these decide nothing."""
    count: Annotated[int, Gt(0)] = 60
    """Most prompts to answer: of the data's own or, if it has none, validation rows, spread over all of them."""
    most: Annotated[int, Gt(0)] = 600
    """How many of the data's prompts may be asked if the first `count` decide nothing: 120, 240, then all. With
    exact_match, the references of these are read instead of answers generated."""
    max_new_tokens: Annotated[int, Gt(0)] = 128
    """Longest answer in tokens."""

    def measures(self) -> tuple[str, ...]:
        """Return `stopped`: whether answers end by themselves is always measured."""
        return ("stopped",)

    def asks(self, prompts: int) -> int:
        """Return the number of prompts from the data: `count`, 0 if the user gives their own."""
        return 0 if self.file is not None or self.prompts else min(self.count, prompts)

    def answer_tokens(self) -> int | None:
        """Return the most tokens of an answer."""
        return self.max_new_tokens


@dataclass
class MemorizationConfig(EvaluatorConfig):
    """Whether the model recites training rows, compared with held-out rows and the base model."""

    rows: Annotated[int, Gt(0)] = 256
    """Most training rows, and most held-out rows, that are asked: 40 of each first, then 96, then all, until copying is
    certain or ruled out."""
    max_new_tokens: Annotated[int, Gt(0)] = 48
    """How many tokens of an answer, from the first, are compared with the true answer."""
    min_tokens: Annotated[int, Gt(1)] = 4
    """Rows whose answer has fewer tokens are left out: short answers are easily right by chance."""
    seed: int = 0
    """Decides which rows are asked."""
    excess: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Flag memorization if the probability that training rows are recited certainly exceeds that of held-out rows by
    more than this, or the longest stretch does as a share of the answer."""
    excess_alone: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    """The same if too few rows are held out and the comparison is only with the base model."""

    def measures(self) -> tuple[str, ...]:
        """Return the names of the measures; those of held-out rows are missing if there are too few of them."""
        names = [f"{name}_{part}" for part in ("train", "heldout") for name in ("verbatim", "common_run")]
        return (*names, "verbatim_excess")

    def aspects(self) -> tuple[Aspect, ...]:
        """Return the aspect of copying."""
        return (Aspect.copying,)


def names_files(tasks: list[str]) -> bool:
    """Whether tasks of lm-eval are files, which may call functions of a Python file beside them."""
    return any(task.endswith(".yaml") for task in tasks)


@dataclass
class LmEvalConfig(EvaluatorConfig):
    """Tasks of lm-evaluation-harness, or your own tasks in its format, before and after training."""

    tasks: Annotated[list[str], Len(1), NamesCode(names_files)] = field(default_factory=lambda: ["general"])
    """Tasks, groups, tags, patterns such as mmlu_*, or YAML files. `general` is a suite of this project."""
    include_path: Annotated[str | None, Len(1), NamesCode()] = None
    """A folder with YAML files of tasks, which take precedence over lm-eval's."""
    limit: Annotated[float | None, Gt(0)] = None
    """Documents of each task, from the first; below 1, a share of them."""
    num_fewshot: Annotated[int | None, Ge(0)] = None
    """Solved examples before each question. null leaves it to the task."""
    apply_chat_template: bool = False
    """Ask each question as a conversation. The choices then begin without a space."""
    fewshot_as_multiturn: bool = True
    """In a conversation, solved examples are turns of their own."""
    system_instruction: Annotated[str | None, Len(1)] = None
    """A system prompt; without `apply_chat_template`, the beginning of each context."""
    bootstrap_iters: Annotated[int, Ge(0)] = 1000
    """Resamples for the standard error of a figure without a formula for it. 0: no standard errors."""
    samples: Annotated[int, Ge(0)] = 10
    """How many generated answers of each task are kept, from the first."""
    aspect: Aspect = Aspect.general
    """What the tasks measure: what the model knew before (general), or what it should learn (task)."""
    max_loss: Annotated[float, Interval(gt=0, le=1)] = 0.05
    """Report a general task as forgetting if its score falls significantly and by more than this."""

    def measures(self) -> tuple[str, ...]:
        """Return the measures that the files of the tasks name."""
        from framework_plugins.evals.harness.names import measures  # noqa: PLC0415 - --help need not pay for it

        return measures(self.tasks, self.include_path)

    def aspects(self) -> tuple[Aspect, ...]:
        """Return the aspects of the tasks."""
        return (self.aspect,)


@dataclass
class ForgettingConfig(EvaluatorConfig):
    """What the model knew before: general questions, answers and texts, and how far it moved from its base."""

    questions: Annotated[int, Interval(ge=0, le=16)] = 16
    """How many questions of each of the eight subjects, from the first."""
    instructions: Annotated[int, Interval(ge=0, le=64)] = 64
    """How many general instructions are used to score answers and to measure the divergence."""
    texts: Annotated[int, Interval(ge=0, le=64)] = 64
    """How many paragraphs are used to measure the perplexity."""
    max_accuracy_loss: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """Flag a significant fall in the mean probability of the right choice by more than this."""
    max_perplexity_ratio: Annotated[float, Gt(1)] = 1.5
    """Flag a perplexity of general texts of more than this many times the base's."""
    max_divergence: Annotated[float, Gt(0)] = 1.0
    """Flag a mean divergence from the base, KL(base || tuned) in nats per token, above this."""

    def measures(self) -> tuple[str, ...]:
        """Return the measures of the parts that are asked."""
        counts = {
            ACCURACY: self.questions,
            PROBABILITY: self.questions,
            "general_answers": self.instructions,
            "general_perplexity": self.texts,
            DIVERGENCE: self.instructions,
        }
        return tuple(name for name, count in counts.items() if count)

    def aspects(self) -> tuple[Aspect, ...]:
        """Return the aspect of forgetting."""
        return (Aspect.general,)


@dataclass
class ExactMatchConfig(MetricConfig):
    """1 if the answer equals the reference, apart from white space around it."""

    ignore_case: bool = False
    """Ignore the difference between upper and lower case."""

    def unsuited(self, references: Sequence[str]) -> str:
        """Say that answers of several words are hardly ever given word for word, unless they are few or JSON."""
        if calls := _calls_problem(references):
            return calls
        words = sorted(len(WORD.findall(text)) for text in references)[len(references) // 2]
        has_few_texts = 2 * len({text.strip() for text in references}) <= len(references)
        return "" if has_few_texts or words <= SHORT or _are_mostly_json(references) else (
            f"half of the references have {words} words or more, and an answer hardly ever repeats that word for word"
        )  # fmt: skip


@dataclass
class JsonValidConfig(MetricConfig):
    """1 if the whole answer is JSON, without a fence or a word around it, and satisfies the schema, if any."""

    schema: Any = None
    """A JSON Schema: a file, or the schema itself, `{type: object, required: [name]}`."""


@dataclass
class JsonFieldsConfig(MetricConfig):
    """Share of the values in the reference's JSON that the first JSON in the answer has in the same place.

    A reference without JSON is compared as a whole.
    """

    def unsuited(self, references: Sequence[str]) -> str:
        """Say that the references hold no JSON to compare."""
        return "" if _are_mostly_json(references) else "most references are not JSON"


@dataclass
class RegexConfig(MetricConfig):
    """1 if the answer matches a regular expression."""

    pattern: str = MISSING
    """The regular expression, in Python's syntax."""
    full: bool = False
    """Match the whole answer, without white space around it, not just a part of it."""
    ignore_case: bool = False
    """Ignore the difference between upper and lower case."""


@dataclass
class TokenF1Config(MetricConfig):
    """Word-level F1 between answer and reference, from 0 to 1, computed as in SQuAD."""

    def unsuited(self, references: Sequence[str]) -> str:
        """Say that the references are calls."""
        return _calls_problem(references)


@dataclass
class ToolCallsConfig(MetricConfig):
    """1 if the answer makes the calls of the reference, in any order, and no others: names and arguments are equal.

    A reference without a call is compared as a whole.
    """

    def applies(self, references: Sequence[str]) -> bool:
        """Whether a reference is a call."""
        return any(map(is_call, references))

    def unsuited(self, references: Sequence[str]) -> str:
        """Say that no reference is a call, or that few are and the others are long."""
        return "" if _calls_problem(references) else "most references are not calls of tools"


class RougeKind(Enum):
    """What ROUGE compares: words, pairs of words, or the longest common subsequence."""

    rouge1 = "rouge1"
    rouge2 = "rouge2"
    rougeL = "rougeL"  # noqa: N815 - the field's name


class RougeWords(Enum):
    """What counts as a word in ROUGE."""

    latin = "latin"
    unicode = "unicode"


@dataclass
class RougeConfig(MetricConfig):
    """ROUGE, the F-measure, from 0 to 1."""

    kind: RougeKind = RougeKind.rougeL
    """Words, pairs of words, or the longest common subsequence of words."""
    words: RougeWords = RougeWords.latin
    """`latin`: a to z and 0 to 9, as in published figures. `unicode`: words of every script."""
    stemmer: bool = False
    """Compare Porter stems of English words; only with `words=latin`."""


class BleuWords(Enum):
    """How BLEU splits a text into words."""

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
    """Ignore the difference between upper and lower case."""


@dataclass
class ChrfConfig(MetricConfig):
    """chrF of each answer by sacrebleu, as a share of its 100 points; needs no words, so it suits every language."""

    word_order: Annotated[int, Interval(ge=0, le=4)] = 0
    """Longest n-grams of words in addition to those of characters: 0 is chrF, 2 is chrF++."""
    ignore_case: bool = False
    """Ignore the difference between upper and lower case."""


@dataclass
class PerplexityConfig(MetricConfig):
    """Perplexity of the references, given the prompts, under the model itself."""


class Aim(Enum):
    """Which lengths are better."""

    shorter = "shorter"
    longer = "longer"


@dataclass
class LengthConfig(MetricConfig):
    """Length of the answer in tokens."""

    aim: Aim = Aim.shorter
    """Whether shorter or longer answers are better, for a sweep and the verdict."""


@dataclass
class StoppedConfig(MetricConfig):
    """1 if the model ended its answer by itself. Always measured; choose it to make it the objective."""


@dataclass
class JudgeConfig(MetricConfig):
    """A grade from another model, through any OpenAI-compatible chat endpoint."""

    base_url: str = MISSING
    """Address of the endpoint, such as `http://localhost:11434/v1`; `/chat/completions` is added."""
    model: str = MISSING
    """The judge's name at the endpoint."""
    prompt: Annotated[str | None, Len(1)] = None
    """The prompt for the judge, with {question}, {answer}, {reference}, {lowest} and {highest}. By default a built-in
    prompt."""
    lowest: float = 1
    """The worst grade."""
    highest: float = 10
    """The best grade; the judge has to reply with one number from `lowest` to `highest`."""
    key_env: Annotated[str | None, Len(1)] = None
    """The name of the environment variable that holds the key, such as OPENAI_API_KEY; never the key itself."""
    timeout: Annotated[float, Gt(0)] = 60.0
    """Seconds that a reply may take."""
    concurrency: Annotated[int, Interval(ge=1, le=64)] = 4
    """Requests at a time."""
    retries: Annotated[int, Interval(ge=0, le=10)] = 2
    """How often a request that failed for a temporary reason is sent again."""
    compare: bool = False
    """Also compare each answer with the base's, in both orders: `judge_wins` is the share of prompts for which the
    trained model's answer is better; ties count half. Two more requests for each prompt whose answers differ."""
    request: dict[str, Any] = field(default_factory=dict)
    """More fields of the request, such as `{max_tokens: 16}`; they override the default ones."""

    @property
    def compares(self) -> bool:
        """Whether the judge compares answers with the base's."""
        return self.compare


def is_call(text: str) -> bool:
    """Whether a reference has calls of tools: the tag around each, or nothing but the call as JSON."""
    return Message.BEGIN_CALL in text or bool(CALL.match(text))


def _calls_problem(references: Sequence[str]) -> str:
    """Say that references are calls, if these are half of them or more, or the others are short; else empty."""
    texts = [text for text in references if not is_call(text)]
    calls = len(references) - len(texts)
    if not calls or (calls < len(texts) and ExactMatchConfig().unsuited(texts)):
        return ""
    return f"{calls} of {len(references)} references are calls of tools, which metric=[tool_calls] compares"


def _are_mostly_json(texts: Sequence[str]) -> bool:
    """Whether at least half of some texts are a JSON object or list."""
    return 2 * sum(map(_is_json, texts)) >= len(texts)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


@dataclass
class CompareCommandConfig(CommandConfig):
    """Compare evaluations of the same items: runs, logs of lm-eval and inspect, or scores in JSONL."""

    usage = "A B [C…]"
