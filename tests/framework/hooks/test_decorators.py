"""A decorated function is an option like any other, and still a function."""

import functools
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from framework import FrameworkError, exporter, formatter, metric
from framework.api.component import Component
from framework.api.fields import fields
from framework.api.protocols import ExportContext, Exporter, Model
from framework.api.records import Artifact, Message
from framework.api.schema import ExporterConfig, FormatConfig, MetricConfig
from framework.hooks.decorated import MARK
from tests.support.project import project


@metric
def polite(answer: str) -> float:
    """1 if the answer says please."""
    return "please" in answer


@metric(higher_is_better=False)
def missing_words(answer: str, reference: str) -> float:
    """Words of the reference that the answer lacks."""
    return len(set(reference.split()) - set(answer.split()))


@dataclass
class LimitConfig(MetricConfig):
    """1 up to a number of words."""

    words: int = 3
    """The number."""


@metric
def short(answer: str, options: LimitConfig) -> float:
    """1 up to a number of words."""
    return len(answer.split()) <= options.words


@metric
def long(answer: str, options: LimitConfig) -> float:
    """1 above a number of words."""
    return len(answer.split()) > options.words


@dataclass
class PersonaConfig(FormatConfig):
    """question and solution, with a persona."""

    persona: str = "a clerk"
    """Who answers."""


@formatter("question", "solution")
def qa(row: dict[str, Any], options: PersonaConfig) -> list[Any]:
    """Question and solution, with a persona."""
    return [Message("system", f"You are {options.persona}."), ("user", row["question"]), ("assistant", row["solution"])]


@formatter("text")
def careless(row: dict[str, Any]) -> list[Any]:
    """text, and a field that it does not name."""
    return [("user", row["text"]), ("assistant", row["answer"])]


@formatter("text")
def endless(row: dict[str, Any]) -> Iterator[Any]:
    """Turns without an end."""
    while True:
        yield "user", row["text"]


@exporter
def facts(model: Model, context: ExportContext) -> list[Artifact]:
    """What the model was trained on."""
    file = context.run_dir / "facts.txt"
    file.write_text(str(model), encoding="utf-8")
    return [Artifact("facts", file.name, file.stat().st_size)]


@dataclass
class NoteConfig(ExporterConfig):
    """A note."""

    file: str = "note.txt"
    """Its name."""


@exporter(after=["merged", "facts"], reusable=True)
def note(model: Model, context: ExportContext, options: NoteConfig) -> Iterator[Artifact]:
    """A note, file by file."""
    for name in (options.file, f"second-{options.file}"):
        (context.run_dir / name).write_text(str(model), encoding="utf-8")
        yield Artifact("note", name, len(str(model)))


def component(function: Any) -> Component:
    option: Component = getattr(function, MARK)
    return option


def made(function: Any, **options: Any) -> Any:
    return component(function).load()(component(function).schema(**options))


def test_the_function_is_still_one() -> None:
    assert polite("yes please")
    assert qa({"question": "?", "solution": "!"}, PersonaConfig())[1] == ("user", "?")


def test_a_metric_says_by_its_parameters_whether_it_needs_a_reference() -> None:
    assert (made(polite).needs_reference, made(polite).higher_is_better) == (False, True)
    assert (made(missing_words).needs_reference, made(missing_words).higher_is_better) == (True, False)
    assert made(polite).score("please", None) == 1.0
    assert made(missing_words).score("a c", "a b c d") == 2.0


def test_options_are_handed_over() -> None:
    assert issubclass(component(short).schema, LimitConfig)
    assert [made(short, words=number).score("one two", None) for number in (1, 2)] == [0.0, 1.0]


def test_functions_that_share_their_options_are_distinguished_by_the_class_of_these() -> None:
    one, other = component(short).schema, component(long).schema
    assert one is not other
    assert [made(function).score("one", None) for function in (short, long)] == [1.0, 0.0]
    assert [component(function).summary for function in (short, long)] == [short.__doc__, long.__doc__]
    assert [field.doc for field in fields(other)] == ["The number."]


@pytest.mark.parametrize("function", [polite, short, long])
def test_the_options_can_be_handed_to_another_process(function: Any) -> None:
    config = component(function).schema()
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - made here


def test_the_docstring_is_the_summary() -> None:
    assert component(polite).summary == "1 if the answer says please."
    assert component(polite).name == "polite"


def test_a_format_makes_turns_of_a_row_with_its_fields() -> None:
    row = {"question": "Why?", "solution": "So."}
    example = made(qa, persona="a judge").example(row)
    assert example.format == "qa"
    assert [(turn.role, turn.content) for turn in example.messages] == [
        ("system", "You are a judge."), ("user", "Why?"), ("assistant", "So."),
    ]  # fmt: skip
    assert (made(qa).matches(row), made(qa).matches({"question": "Why?"})) == (True, False)


@pytest.mark.parametrize(
    ("function", "row", "text"),
    [
        (qa, {"question": "Why?"}, "format qa needs the field 'solution'; the row has question"),
        (qa, {}, "format qa needs the field 'question'; the row has none"),
        (qa, {"question": "Why?", "solution": 3}, "format=qa makes the assistant's turn int, not text"),
        (careless, {"text": "x"}, "format careless needs the field 'answer'; the row has text"),
        (endless, {"text": "x"}, "format=endless gives more than 100,000 turns for one row: end the generator"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_the_field(function: Any, row: dict[str, Any], text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        made(function).example(row)
    assert str(caught.value) == text


def context(folder: Path) -> ExportContext:
    return ExportContext(folder, folder, {}, plan=None)  # type: ignore[arg-type] # none of these asks for the plan


def test_an_exporter_writes_files_and_names_them(tmp_path: Path) -> None:
    assert made(facts).export("Lima", context(tmp_path)) == [Artifact("facts", "facts.txt", 4)]
    assert (tmp_path / "facts.txt").read_text(encoding="utf-8") == "Lima"
    assert component(facts).summary == "What the model was trained on."


def test_an_exporter_may_have_options_and_yield_what_it_wrote(tmp_path: Path) -> None:
    written = made(note, file="a.txt").export("Lima", context(tmp_path))
    assert [artifact.path for artifact in written] == ["a.txt", "second-a.txt"]


def test_an_exporter_says_which_it_comes_after_and_whether_it_can_be_kept() -> None:
    first, second = made(facts), made(note)
    assert isinstance(second, Exporter)
    assert (first.after, first.reusable) == ((), False)
    assert (second.after, second.reusable) == (("merged", "facts"), True)


def alone(context: ExportContext) -> list[Artifact]:
    """Takes no model."""
    return list(context.artifacts)


def modelled(model: Model) -> list[Artifact]:
    """Takes no context."""
    return [Artifact(str(model), "", 0)]


def mistyped(model: Model, context: ExportContext, options: LimitConfig) -> list[Artifact]:
    """Options of a metric."""
    return [Artifact(str(model), str(context.run_dir), options.words)]


def silent(model: Model, context: ExportContext) -> list[Artifact]:
    return [Artifact(str(model), str(context.run_dir), 0)]


async def exported(model: Model, context: ExportContext) -> list[Artifact]:
    """Not now."""
    return [Artifact(str(model), str(context.run_dir), 0)]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (alone, "alone takes (context); it may take (model, context), and the options after that"),
        (modelled, "modelled takes (model); it may take (model, context), and the options after that"),
        (mistyped, "annotate 'options' with a dataclass that subclasses ExporterConfig"),
        (exported, "exported is async, and nothing would await it: write def, not async def"),
        (silent, "needs a docstring: its first line documents the option"),
        (NoteConfig, "is not a function"),
    ],
)
def test_a_function_that_cannot_be_an_exporter_is_refused_when_it_is_decorated(function: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        exporter(function)
    assert text in str(caught.value)


@pytest.mark.parametrize("after", ["merged", [3]])
def test_an_exporter_comes_after_names(after: Any) -> None:
    with pytest.raises(
        TypeError, match=r"@exporter takes the names of other exporters as a tuple: after=\('merged',\)"
    ):
        exporter(after=after)


def undocumented(answer: str) -> float:
    return len(answer)


def turned(reference: str, answer: str) -> float:
    """Wrong way round."""
    return len(reference + answer)


def loose(answer: str, options: int) -> float:
    """Options that are none."""
    return len(answer) + options


def crowded(answer: str, one: LimitConfig, two: LimitConfig) -> float:
    """Two options."""
    return len(answer) + one.words + two.words


async def late(answer: str) -> float:
    """Not now."""
    return len(answer)


async def later(answer: str) -> AsyncIterator[float]:
    """Not now, and not at once."""
    yield len(answer)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (undocumented, "needs a docstring"),
        (late, "late is async, and nothing would await it: write def, not async def"),
        (later, "later is async"),
        (functools.partial(polite, "please"), "is not a function: decorate what `def` makes, above other decorators"),
        (LimitConfig, "is not a function"),
        (turned, "takes (reference, answer); it may take (answer, reference), and the options after that"),
        (loose, "annotate 'options' with a dataclass that subclasses MetricConfig"),
        (crowded, "takes (answer, one, two)"),
    ],
)
def test_a_function_that_cannot_be_a_metric_is_refused_when_it_is_decorated(function: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        metric(function)
    assert text in str(caught.value)


def test_a_format_without_fields_is_refused() -> None:
    with pytest.raises(TypeError, match="needs the names of the fields"):
        formatter()
    with pytest.raises(TypeError, match="needs the names of the fields"):
        formatter(qa)  # type: ignore[arg-type] # as in `@formatter` without parentheses


FILE = """
    from framework import exporter, formatter, metric
    from framework.api.records import Artifact

    @metric
    def polite(answer):
        '''1 if the answer says please.'''
        return float("please" in answer.casefold())

    @formatter("question", "solution")
    def qa(row):
        '''question and solution.'''
        return [("user", row["question"]), ("assistant", row["solution"])]

    @exporter
    def notes(model, context):
        '''The objective, in a file.'''
        file = context.run_dir / "notes.txt"
        file.write_text(context.config["objective"])
        return [Artifact("notes", "notes.txt", file.stat().st_size)]
"""


SHARED = """
    from dataclasses import dataclass
    from framework import metric
    from framework.api.schema import MetricConfig

    @dataclass
    class Options(MetricConfig):
        'Shared.'
        by: float = 1.0

    @metric
    def one(answer, options: Options):
        '1 for any answer.'
        return 1.0 * options.by

    @metric
    def two(answer, options: Options):
        '2 for any answer.'
        return 2.0 * options.by
"""


def test_two_metrics_with_one_class_for_their_options_run_their_own_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(dedent(SHARED), encoding="utf-8")
    words = ["plugins=[mine.py]", "metric=[one,two]", "metric.two.by=10", "objective=one", "run_dir=run"]
    result = project(tmp_path).echo(*words)
    assert (result.code, result.err) == (0, "")
    metrics = json.loads((tmp_path / "run" / "evaluate.json").read_text(encoding="utf-8"))["measures"]
    assert (metrics["one"]["value"], metrics["two"]["value"]) == (1.0, 20.0)


def test_a_file_of_a_few_lines_is_a_metric_a_format_and_an_exporter(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(dedent(FILE), encoding="utf-8")
    rows = "".join(f'{{"question": "{number}?", "solution": "{number}, please"}}\n' for number in range(10))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    words = ["plugins=[mine.py]", "data=local_file", "data.path=rows.jsonl", "metric=[polite]", "objective=polite"]
    result = project(tmp_path).echo(*words, "exporter=[notes]", "run_dir=run", "logger.console.details=true")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "run" / "notes.txt").read_text(encoding="utf-8") == "polite"
    assert "qa: 10 rows with the fields question, solution" in result.out  # found by format=auto
    assert "polite ↑" in result.out
