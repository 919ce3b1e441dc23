"""Every first-party plugin passes the kit that authors of plugins are given."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from framework import testing
from framework.api import RunFolder, records
from framework.api.plan import Plan
from framework.api.records import Answered, Artifact, Example, ExportResult, GroupedRows, Message, Origin
from framework.api.schema import Role
from framework.api.training import Sampled
from framework.hooks.session import current
from framework.run.export import fingerprint
from framework.testing import (
    AuditSuite,
    BackendSuite,
    ExporterSuite,
    FormatterSuite,
    LoggerSuite,
    LossSuite,
    MethodSuite,
    MetricSuite,
    SourceSuite,
)
from framework.testing.checks.all import HEAVY
from framework.testing.plugin import check_plugin
from framework.testing.suites.base import Rows
from framework.util.process import PythonProcess
from framework_plugins.methods.config import ADVANTAGE, ANSWERS, TOKENS
from tests.support.copies import in_place_of_processes
from tests.support.judge import JudgeStandIn, asked_about
from tests.support.pairs_plugin import token_row
from tests.support.sources import tree
from tests.support.tiny import tiny_chatml
from tests.support.wandb_alone import nobodys

PLUGINS = sorted(entry.value for entry in entry_points(group="framework") if entry.value.startswith("framework_"))
BY_PARAMETERS = {"optimizer", "schedule"}
"""Groups whose suites take every registered option as a parameter."""
WITHOUT = {("data", "hub"), ("rollout", "vllm")}
"""One needs the Hub and one a GPU; test_hub.py and test_generators.py replace both."""
TURNS = [{"role": "user", "content": "Capital of Peru?"}, {"role": "assistant", "content": "Lima"}]
SHARED = [{"from": "human", "value": "Capital of Peru?"}, {"from": "gpt", "value": "Lima"}]
ALPACA = {"instruction": "Add", "input": "1 and 1", "output": "2"}
PAIR = {"prompt": "Capital of Peru?", "completion": "Lima"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lima"}'}}
CALLING = [
    {"role": "user", "content": [{"type": "text", "text": "How warm is it in Lima?"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "20", "tool_call_id": "c1", "name": "weather"},
    {"role": "assistant", "content": "20 degrees.", "reasoning_content": "It said 20."},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
OBSERVED = [
    {"from": "human", "value": "How warm is it in Lima?"},
    {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Lima"}}'},
    {"from": "observation", "value": "20"},
    {"from": "gpt", "value": "20 degrees."},
]
PREFERRED = {"prompt": "Capital of Peru?", "chosen": "Lima", "rejected": "Quito"}
LACKS = {
    "unsloth": "trainer 'unsloth' needs the library 'unsloth'",  # it asks for an environment of its own
    "vllm": "rollout 'vllm' needs the library 'vllm'",
}
WRONG = [TURNS[0], {"role": "assistant", "content": "Quito"}]


def test_to_load_the_plugins_imports_nothing_heavy() -> None:
    """In a Python that has imported nothing: the copies below have."""
    with PythonProcess() as process:
        process.call("builtins:exec", f"import {', '.join(PLUGINS)}")
        assert not {*HEAVY} & {*process.call("builtins:eval", "[*__import__('sys').modules]")}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_plugin_is_in_order(name: str) -> None:
    first = name == "framework_plugins.unsloth.plugin"  # asks to be imported before what the copies have imported
    with nullcontext() if first else in_place_of_processes():
        found = check_plugin(name)
    for library, lacks in LACKS.items():  # not installed here; all else of their plugins is checked
        if find_spec(library) is None:
            found = [problem for problem in found if not problem.startswith(f"{lacks}: pip install ")]
    assert found == []


def test_every_option_that_has_a_suite_for_its_kind_runs_through_it() -> None:
    suites: dict[str, str] = {
        name: kind.group for name, kind in vars(testing).items() if isinstance(kind, type) and hasattr(kind, "group")
    }
    tested = {pair for file in Path(__file__).parent.rglob("test_*.py") for pair in _tested(file, suites)}
    ours = {
        (group, name)
        for group in {*suites.values()} - BY_PARAMETERS
        for name, registration in current().plugins.registrations(group).items()
        if registration.component.schema.__module__.startswith(("framework_", "framework."))
    }
    assert len({*suites.values()}) == 14
    assert ours - tested == WITHOUT


def _tested(file: Path, suites: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give the group and the option of each class of a file that is a suite, or that has one for a base."""
    groups = dict(suites)
    for node in tree(file).body:
        bases = [base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)]
        group = next((groups[base] for base in bases if base in groups), "")
        if isinstance(node, ast.ClassDef) and group:
            groups[node.name] = group
            yield from ((group, str(value)) for value in _options(node))


def _options(suite: ast.ClassDef) -> Iterator[object]:
    for node in suite.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="option")], value=ast.Constant(value=option))
                | ast.AnnAssign(target=ast.Name(id="option"), value=ast.Constant(value=option))
            ):
                yield option


class TestExactMatch(MetricSuite):
    option = "exact_match"
    answers = (("Lima", "Lima", 1.0), (" Lima\n", "Lima", 1.0), ("lima", "Lima", 0.0), ("", "Lima", 0.0))


class TestExactMatchOfAnyCase(MetricSuite):
    option = "exact_match"
    overrides = ("metric.exact_match.ignore_case=true",)
    answers = (("LIMA", "lima", 1.0), ("Straße", "STRASSE", 1.0), ("Quito", "Lima", 0.0))


class TestJsonFields(MetricSuite):
    option = "json_fields"
    answers = (
        ('{"a": 1, "b": [2]}', '{"b": [2], "a": 1}', 1.0),
        ('Sure: {"a": 1, "b": [3]}', '{"a": 1, "b": [2]}', 0.5),
        ("", '{"a": 1}', 0.0),
        ("Lima", "Lima", 1.0),
    )


class TestToolCalls(MetricSuite):
    option = "tool_calls"
    answers = (
        ('{"name": "add", "arguments": {"b": 2, "a": 1}}', '{"name": "add", "arguments": {"a": 1, "b": 2}}', 1.0),
        ("I add them.", '{"name": "add", "arguments": {"a": 1, "b": 2}}', 0.0),
        ("", '{"name": "add", "arguments": {}}', 0.0),
        ("Lima", "Lima", 1.0),
    )


class TestJsonValid(MetricSuite):
    option = "json_valid"
    answers = (('{"a": [1]}', None, 1.0), (" 3 ", None, 1.0), ("```json\n{}\n```", None, 0.0), ("", None, 0.0))


class TestJsonOfASchema(MetricSuite):
    option = "json_valid"
    overrides = ("metric.json_valid.schema={type: object, required: [a], properties: {a: {type: integer}}}",)
    answers = (
        ('{"a": 1}', None, 1.0),
        ('{"a": 1.5}', None, 0.0),
        ("{}", None, 0.0),
        ("[1]", None, 0.0),
        ("{", None, 0),
    )


class TestRegex(MetricSuite):
    option = "regex"
    overrides = ("metric.regex.pattern='[A-Z][a-z]+'",)
    answers = (("in Lima.", None, 1.0), ("Lima", None, 1.0), ("lima", None, 0.0), ("", None, 0.0))


class TestRegexOfTheWhole(MetricSuite):
    option = "regex"
    overrides = ("metric.regex.pattern='[A-Z][a-z]+'", "metric.regex.full=true", "metric.regex.ignore_case=true")
    answers = ((" lima\n", None, 1.0), ("Lima", None, 1.0), ("in Lima.", None, 0.0), ("", None, 0.0))


SENTENCE = "Write a sentence that contains the words bottle and stone."


class OfTwoWords(MetricSuite):
    """Metrics that read in the question which words there have to be."""

    def plan(self, folder: Path, *more: str, rows: Rows = ()) -> Plan:
        """Ask for sentences, whatever the rows are."""
        del rows
        asked = [{"instruction": f"{number}: {SENTENCE}", "output": "A stone."} for number in range(12)]
        return super().plan(folder, *more, rows=asked)


class TestBothWords(OfTwoWords):
    option = "both_words"
    answered = ((Answered(SENTENCE, "The old bottle lay beside a smooth stone.", None, 5, stopped=True), 1.0),)


class TestPlainSentence(OfTwoWords):
    option = "plain_sentence"
    answered = ((Answered(SENTENCE, "The old bottle lay beside a smooth stone.", None, 5, stopped=True), 1.0),)


class TestTokenF1(MetricSuite):
    option = "token_f1"
    answers = (
        ("Lima", "Lima", 1.0),
        ("The Lima!", "a lima", 1.0),
        ("Lima is in Peru", "It is Lima", 4 / 7),
        ("to be or not to be", "to be", 2 * 2 / 8),
        ("Quito", "Lima", 0.0),
        ("", "Lima", 0.0),
        ("", "", 1.0),
    )


class TestRouge(MetricSuite):
    option = "rouge"
    answers = (
        ("the cat sat on the mat", "the cat is on the mat", 5 / 6),
        ("mat the on", "the cat is on the mat", 4 / 9),
        ("Lima!", "lima", 1.0),
        ("", "Lima", 0.0),
    )


class TestRouge2(MetricSuite):
    option = "rouge"
    overrides = ("metric.rouge.kind=rouge2",)
    answers = (("the cat sat on the mat", "the cat is on the mat", 3 / 5), ("Lima", "Lima", 0.0))


class TestRougeOfAnyScript(MetricSuite):
    option = "rouge"
    overrides = ("metric.rouge.kind=rouge1", "metric.rouge.words=unicode")
    answers = (("Größe", "größe", 1.0), ("首都", "首尔", 0.5), ("Λίμα", "Λίμα", 1.0), ("snake_case", "snake case", 1.0))


class TestBleu(MetricSuite):
    option = "bleu"
    answers = (
        ("the cat sat on the mat", "the cat is on the mat", 0.37991784),
        ("the cat is on the mat", "the cat is on the mat", 1.0),
        ("Lima", "Lima", 1.0),
        ("", "Lima", 0.0),
    )


class TestChrf(MetricSuite):
    option = "chrf"
    answers = (
        ("the cat sat on the mat", "the cat is on the mat", 0.64577942),
        ("日本", "日本", 1.0),
        ("Lima", "lima", 0.47916667),
        ("", "Lima", 0.0),
    )


class TestPerplexity(MetricSuite):
    option = "perplexity"
    answered = (
        (Answered("Say it", "no", "yes", 1, stopped=True, reference_log_probs=(-1.0, -2.0)), 1.5),
        (Answered("Say it", "no", "yes", 1, stopped=True, reference_log_probs=()), None),
        (Answered("Say it", "no", "yes", 1, stopped=True), None),
    )


class TestLength(MetricSuite):
    option = "length"
    answered = ((Answered("Say it", "a b", None, 7, stopped=False), 7.0), (Answered("", "", "", 0, stopped=True), 0.0))


class TestStopped(MetricSuite):
    option = "stopped"
    answered = ((Answered("Say it", "a", None, 7, stopped=False), 0.0), (Answered("", "", "", 0, stopped=True), 1.0))


class TestJudge(MetricSuite):
    """Graded by the length of the answer."""

    option = "judge"
    answers = (("a", None, 1.0), ("abc", None, 3.0), ("abc", "reference", 3.0), ("a" * 20, None, 10.0))

    @pytest.fixture(autouse=True)
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Serve a judge on loopback."""
        with JudgeStandIn(lambda question: str(min(10, max(1, len(asked_about(question)))))) as judge:
            words = ["metric.judge.model=tiny", f"metric.judge.base_url={judge.url}"]
            monkeypatch.setattr(type(self), "overrides", words)
            yield


class TestAlpaca(FormatterSuite):
    option = "alpaca"
    rows = (
        ALPACA,
        {"instruction": "Add 1 and 1", "output": "2", "system": "Be brief"},
        {**ALPACA, "input": "", "text": "Below is an instruction…"},
        {**ALPACA, "input": None, "history": [["Add 2 and 2", "4"]]},
    )
    broken = (
        ({"instruction": "Add", "input": ""}, "output"),
        ({**ALPACA, "instruction": None}, "instruction"),
        ({**ALPACA, "input": ["1"]}, "input"),
        ({**ALPACA, "input": 0}, "input"),
        ({**ALPACA, "output": 2}, "output"),
        ({**ALPACA, "history": [["Add 2 and 2"]]}, "history"),
        ({**ALPACA, "tools": "weather"}, "tools"),
        ({**ALPACA, "system": 3}, "system"),
    )


class TestChatML(FormatterSuite):
    option = "chatml"
    rows = (
        {"messages": TURNS},
        {"conversations": TURNS},
        {"messages": [{"role": "system", "content": "Be brief"}, *TURNS, *TURNS]},
        {"messages": [{"role": "developer", "content": "Be brief"}, *CALLING], "tools": TOOLS},
        {"messages": CALLING, "tools": json.dumps(TOOLS)},
        {"messages": TURNS, "prompt": "Capital of Peru?", "prompt_id": "1", "text": "Capital of Peru? Lima"},
    )
    broken = (
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, TURNS[1]]}, "image_url"),
        ({"messages": [*CALLING[:1], {"role": "assistant", "tool_calls": [{"name": "weather"}]}]}, "arguments"),
        ({"messages": [TURNS[0], {**TURNS[1], "weight": 0}]}, "weight"),
        ({"messages": CALLING, "tools": [{"description": "weather"}]}, "tools"),
        ({"text": "Lima"}, "messages"),
        ({"messages": "Lima"}, "messages"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "content"),
        ({"messages": [TURNS[0], {"role": "poet", "content": "Lima"}]}, "poet"),
        ({"messages": TURNS[:1]}, "assistant"),
    )


class TestShareGPT(FormatterSuite):
    option = "sharegpt"
    rows = (
        {"conversations": SHARED},
        {"conversation": SHARED, "system": "Be brief"},
        {"conversations": OBSERVED, "tools": '[{"name": "weather", "parameters": {"type": "object"}}]'},
    )
    broken = (
        ({"conversations": [SHARED[0], {"from": "function_call", "value": "weather"}]}, "value"),
        ({"text": "Lima"}, "conversations"),
        ({"conversations": [SHARED[0], {"from": "gpt"}]}, "value"),
        ({"conversations": [SHARED[0], {"from": "poet", "value": "Lima"}]}, "poet"),
    )


class TestPromptCompletion(FormatterSuite):
    option = "prompt_completion"
    rows = (PAIR, {"prompt": TURNS[:1], "completion": TURNS[1:]}, {**PAIR, "system": "Be brief", "label": None})
    broken = (
        ({"prompt": "Capital of Peru?"}, "completion"),
        ({**PAIR, "prompt": 3}, "prompt"),
        ({**PAIR, "label": "geography"}, "label"),
    )


class TestPreference(FormatterSuite):
    option = "preference"
    rows = (
        PREFERRED,
        {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": WRONG[1:]},
        {"prompt": "Capital of Peru?", "chosen": TURNS, "rejected": WRONG, "messages": TURNS, "score_chosen": 8.5},
        {
            "chosen": "\n\nHuman: Capital of Peru?\n\nAssistant: Lima",
            "rejected": "\n\nHuman: Capital of Peru?\n\nAssistant: Quito",
        },
        {"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": {"from": "gpt", "value": "Quito"}},
        {"instruction": "Add", "input": "1 and 1", "chosen": "2", "rejected": "3"},
        {"system": "Be brief.", "question": "Capital of Peru?", "chosen": "Lima", "rejected": "Quito"},
        {"input": {"messages": TURNS[:1]}, "preferred_output": TURNS[1:], "non_preferred_output": WRONG[1:]},
        {"prompt": "Capital of Peru?", "response_0": "Quito", "response_1": "Lima", "better_response_id": 1},
        {"conversation_a": TURNS, "conversation_b": WRONG, "winner": "model_a"},
        {"prompt": "Capital?", "answers": [{"answer": "Lima", "rank": 1.0}, {"answer": "Quito", "rank": 2.0}]},
    )
    broken = (
        ({"riddle": "Capital of Peru?", "chosen": "Lima", "rejected": "Quito"}, "prompt"),
        ({**PREFERRED, "rejected": 3}, "rejected"),
        ({"prompt": "Capital of Peru?", "chosen": "Lima"}, "rejected"),
        ({"chosen": TURNS, "rejected": [{"role": "user", "content": "Capital of Chile?"}, WRONG[1]]}, "rejected"),
        ({"prompt": "Capital?", "response_0": "Lima", "response_1": "Quito", "better_response_id": 2}, "better_resp"),
        ({"prompt": "Capital?", "answers": [{"answer": "Lima", "rank": "first"}]}, "rank"),
    )


class TestUnpaired(FormatterSuite):
    option = "unpaired"
    rows = (
        {**ALPACA, "label": True},
        {**PAIR, "label": 1},
        {"messages": TURNS, "label": "good"},
        {"conversations": SHARED, "kto_tag": True},
    )
    broken = (
        (PAIR, "label"),
        ({"prompt": "Capital of Peru?", "label": True}, "completion"),
        ({**PAIR, "label": "geography"}, "label"),
        ({**PAIR, "label": True, "kto_tag": False}, "kto_tag"),
    )


class TestText(FormatterSuite):
    option = "text"
    rows = ({"text": "Lima is the capital of Peru."}, {"text": "Quito", "url": "quito.example", "label": None})
    broken = (({"content": "Lima"}, "text"), ({"text": ["Lima"]}, "text"))


class TestAuto(FormatterSuite):
    option = "auto"
    rows = (ALPACA, PAIR, {"messages": TURNS}, {"conversations": SHARED}, PREFERRED, {"text": "Lima"})
    broken = (
        ({"question": "Capital of Peru?"}, "question"),
        ({**ALPACA, **PAIR}, "completion"),
        ({"text": "Lima", "label": 1}, "label"),
        ({"instruction": "Add", "result": "2"}, "'output'"),
    )


class TestSft(MethodSuite):
    option = "sft"
    refused: ClassVar = [
        (Example((Message("user", "Why?"),), "none"), "has to end with an assistant's turn"),
        (
            Example((Message("user", "Why?"), Message("assistant", "No.")), "unpaired", facts={"desirable": 0.0}),
            "method=kto learns from such rows",
        ),
    ]


CONTEXT = Message("user", "Capital of Peru?")
SINGLE = Example((CONTEXT, Message("assistant", "Lima")), "none")
LABELLED = replace(SINGLE, facts={"desirable": 1.0})


class PairSuite(MethodSuite):
    """What every method of pairs has to do."""

    groups: ClassVar = [
        GroupedRows((token_row(start, size), token_row(start + 9, size, learned)), (Role.answer, Role.rejected))
        for start, size, learned in ((3, 6, 2), (50, 9, 5), (90, 7, 3))
    ]
    refused: ClassVar = [
        (SINGLE, "set method=sft"),
        (LABELLED, "set method=kto"),
        (replace(SINGLE, rejected=SINGLE.messages[1:]), "the same text as both"),
    ]


class TestDpo(PairSuite):
    option = "dpo"
    overrides = ("method.loss_type=[sigmoid,sft]",)


class TestOrpo(PairSuite):
    option = "orpo"


class TestCpo(PairSuite):
    option = "cpo"


class TestSimpo(PairSuite):
    option = "simpo"


class TestKto(MethodSuite):
    option = "kto"
    examples: ClassVar = [LABELLED, replace(LABELLED, facts={"desirable": 0})]
    groups: ClassVar = [
        GroupedRows((token_row(start, size),), facts={"desirable": label})
        for start, size, label in ((3, 6, 1.0), (50, 9, 0.0), (90, 7, 1.0))
    ]
    refused: ClassVar = [
        (SINGLE, "set method=sft"),
        (replace(LABELLED, facts={"desirable": 0.3}), "the label 0.3: write 1 or 0"),
        (replace(SINGLE, rejected=(Message("assistant", "Quito"),)), "set method=dpo"),
    ]


class TestGrpo(MethodSuite):
    option = "grpo"
    overrides = ("reward=[json_valid]", "method.beta=0.1")
    examples: ClassVar = [SINGLE, replace(SINGLE, messages=(CONTEXT,))]
    groups: ClassVar = [
        GroupedRows(
            (token_row(start, size),),
            facts={ADVANTAGE: advantage, TOKENS: 15.0, ANSWERS: 4.0},
            arrays={Sampled.OLD_LOG_PROBS: (np.full((len(token_row(start, size).learned), 1), -1.5, np.float32),)},
        )
        for start, size, advantage in ((3, 6, 1.2), (50, 9, -0.7), (90, 7, 0.3))
    ]
    refused: ClassVar = [
        (Example((), "none"), "asks nothing"),
        (Example((), "text", text="A text."), "is plain text, and method=grpo draws answers to questions"),
        (Example((Message("system", "Be brief."),), "chatml"), "asks nothing"),
        (replace(SINGLE, messages=(CONTEXT, Message("assistant", "So", learned=False))), "leave this turn out"),
    ]


class TestCrossEntropy(LossSuite):
    option = "cross_entropy"
    groups: ClassVar = [token_row(start, size) for start, size in ((3, 4), (50, 9), (90, 6))]


class TestStandard(AuditSuite):
    option = "standard"
    overrides = ("trainer.num_train_epochs=1",)
    clean = tuple(
        {"instruction": f"Name fact {number}", "output": f"{number} is {number + 1} less one"} for number in range(30)
    )
    faulty = (
        ("empty_answers", (ALPACA, {**ALPACA, "output": " "})),
        ("duplicates", (ALPACA, {"instruction": "Capital of Peru?", "output": "Lima"}, ALPACA)),
        ("broken_encoding", (ALPACA, {"instruction": "Where?", "output": "In the cafÃ© at nine"})),
        ("secrets", (ALPACA, {"instruction": "The key?", "output": "AKIA" + "Z7QK4JW2MB6XT9RD"})),
        ("too_long", (ALPACA, {"instruction": "Count", "output": "and on " * 2000})),
    )


class TestOrders(SourceSuite):
    option = "orders"
    count = 800


class TestWordPairs(SourceSuite):
    option = "word_pairs"
    overrides = ("method=grpo", "reward=[both_words]")
    count = 160


class TestBriefAnswers(SourceSuite):
    option = "brief_answers"
    count = 164


class TestLocalFile(SourceSuite):
    option = "local_file"
    overrides = (f"data.path='{files('framework_plugins.quickstart')}/data/orders_held_out.jsonl'",)
    count = 60


class TestAdapter(ExporterSuite):
    option = "adapter"


class OfTheTinyModel(ExporterSuite):
    """Exporters of real weights; the model is made once. A model that learned nothing has no parity to check."""

    option: ClassVar[str]
    more: ClassVar[Sequence[str]] = ()

    @pytest.fixture(autouse=True)
    def words(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        words = [*TINY, "trainer=hf", "model=local", f"model.path={json.dumps(str(tiny))}", "adapter=lora"]
        monkeypatch.setattr(type(self), "overrides", [*words, *self.more])


@pytest.mark.slow
class TestGguf(OfTheTinyModel):
    option = "gguf"
    more = ("exporter.gguf.quantizations=[q8_0,f16]", "exporter.gguf.parity.check=false")


@pytest.mark.slow
class TestGgufAdapter(OfTheTinyModel):
    option = "gguf_adapter"


class TestModelCard(ExporterSuite):
    option = "model_card"


class TestPush(ExporterSuite):
    option = "push"
    beside = ("adapter",)
    overrides = ("exporter.push.repo_id=me/tuned", "exporter.push.dry_run=true")


class TestOllama(ExporterSuite):
    """With a GGUF file that an earlier export left."""

    option = "ollama"

    def run_dir(self, folder: Path, factory: pytest.TempPathFactory) -> Path:
        run_dir = super().run_dir(folder, factory)
        path, weights = "gguf/echo-Q4_K_M.gguf", fingerprint(run_dir / RunFolder.CHECKPOINT)
        (run_dir / "gguf").mkdir()
        (run_dir / path).write_bytes(b"GGUF")
        made = ExportResult([Artifact("gguf", path, 4)], {"gguf": Origin(weights, "", [path])})
        records.save(made, run_dir / "export.json")
        return run_dir


class TestConsole(LoggerSuite):
    option = "console"


class TestJsonl(LoggerSuite):
    option = "jsonl"


class TestHtml(LoggerSuite):
    option = "html"


class TestWandb(LoggerSuite):
    option = "wandb"

    @pytest.fixture(autouse=True)
    def nobody(self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Let no key of this machine take part."""
        with nobodys(monkeypatch, tmp_path_factory.mktemp("home")):
            yield


class TestTensorBoard(LoggerSuite):
    option = "tensorboard"


class TestMlflow(LoggerSuite):
    """With its folder in the working folder, as it is by default."""

    option = "mlflow"

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Let no server of this machine take part."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path_factory.mktemp("here"))


class TestEcho(BackendSuite):
    option = "echo"


TINY = ["trainer.dtype=fp32", "trainer.max_steps=6", "trainer.warmup_steps=1", "trainer.learning_rate=0.02"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


class OnTheTinyModel(BackendSuite):
    """The HF backend; its model is made once."""

    option: ClassVar[str] = "hf"
    adapter: ClassVar[str] = "lora"
    packing: ClassVar[str] = "tree"
    first: ClassVar[str] = ""
    """A module that is imported before the model is made."""

    @pytest.fixture(autouse=True)
    def words(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if self.first:
            importlib.import_module(self.first)
        tiny: Path = request.getfixturevalue("tiny")
        words = [*TINY, "model=local", f"model.path={json.dumps(str(tiny))}", f"adapter={self.adapter}"]
        words += [f"trainer.packing={self.packing}"] * bool(self.packing)
        monkeypatch.setattr(type(self), "overrides", words)


class TestHF(OnTheTinyModel):
    """With LoRA."""


@pytest.mark.filterwarnings("ignore")  # of TRL about its own settings
class TestTrl(OnTheTinyModel):
    """With LoRA, by TRL's own SFTTrainer."""

    option = "trl"
    packing = ""


@pytest.mark.unsloth
@pytest.mark.filterwarnings("ignore")  # of what Unsloth does to other libraries
class TestUnsloth(OnTheTinyModel):
    """With LoRA, and Unsloth: in a pytest of its own, where it is imported before transformers."""

    option = "unsloth"
    first = "framework_plugins.unsloth.import_unsloth"


@pytest.mark.slow
class TestHFSideBySide(OnTheTinyModel):
    """With padding."""

    packing = "pad"


@pytest.mark.slow
class TestHFRowByRow(OnTheTinyModel):
    """One row in each pass."""

    packing = "none"


@pytest.mark.slow
class TestHFWithAllWeights(OnTheTinyModel):
    """Without an adapter, where the base is gone after training."""

    adapter = "full"
    keeps_base = False


class OnTheTinyModelMerged(ExporterSuite):
    """The merged model, of an adapter on the tiny model."""

    option: ClassVar[str] = "merged"
    adapter: ClassVar[str] = "lora"

    @pytest.fixture(autouse=True)
    def words(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        words = [*TINY, "trainer=hf", "model=local", f"model.path={json.dumps(str(tiny))}", f"adapter={self.adapter}"]
        monkeypatch.setattr(type(self), "overrides", words)


class TestMerged(OnTheTinyModelMerged):
    """Of an adapter."""


@pytest.mark.slow
class TestMergedWithAllWeights(OnTheTinyModelMerged):
    """Of all weights."""

    adapter = "full"
