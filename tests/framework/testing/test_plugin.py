"""framework/testing/plugin.py and the checks behind it: every kind of problem is reported, and nothing else."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from framework import Component, hookimpl
from framework.api import protocols
from framework.api.component import ALL_GROUPS
from framework.api.records import Answered, Scores
from framework.api.schema import MetricConfig
from framework.hooks.session import current
from framework.testing import check_plugin
from framework.testing.protocols import lacks
from tests.support.copies import in_place_of_processes

CONFIG = '''
from dataclasses import dataclass, field
from typing import Annotated, Literal
from annotated_types import Gt, Predicate
from framework.api.schema import *

class NoDataclass(MetricConfig):
    """Has no decorator of its own."""

@dataclass
class Unrelated:
    """Of no base."""

@dataclass
class Both(MetricConfig, ExporterConfig):
    """Of two bases."""

@dataclass
class Shared(MetricConfig):
    """For two."""

@dataclass
class Lit(MetricConfig):
    """Literal."""
    x: Literal["a"] = "a"
    """Doc."""

@dataclass
class NoDoc(MetricConfig):
    unread: Annotated[int, Gt(0)] = 0

@dataclass
class Odd(MetricConfig):
    """A bound that fails."""
    count: Annotated[int, Predicate(lambda value: 1 / 0)] = 1
    """Doc."""

@dataclass
class Good(MetricConfig):
    """In order."""
    word: str = "a"
    """Doc."""

@dataclass
class Needs(MetricConfig):
    """Has a setting without a default."""
    needed: str = "???"
    """Doc."""

@dataclass
class Validated(ExporterConfig):
    """A setting that is read, and used by nothing."""
    depth: int = 1
    """Doc."""

    def __post_init__(self):
        assert self.depth

def plain(base, name):
    return dataclass(type(name, (base,), {"__doc__": "In order.", "__module__": __name__}))

M1, M2, M3, M4 = (plain(MetricConfig, f"M{n}") for n in range(4))
E1, E2, E3, E4, E5 = (plain(ExporterConfig, f"E{n}") for n in range(5))
D1, D2, D3 = (plain(DataConfig, f"D{n}") for n in range(3))
Log = plain(LoggerConfig, "Log")
'''
PARTS = """
from framework.api.records import RawData

class Good:
    higher_is_better = True
    needs_reference = False
    def __init__(self, config):
        self.word = config.word
    def score(self, answer, reference):
        return 1.0

class Plain(Good):
    def __init__(self, config):
        pass

class Odd(Plain):
    def __init__(self, config):
        config.count

class Attributes:
    higher_is_better = 1
    score = 3
    def __init__(self, config):
        pass

class Raises:
    def __init__(self, config):
        raise ValueError("oh")

class Needs:
    def __init__(self, config):
        self.needed = config.needed
        self.higher_is_better = True
    def score(self, reference, answer):
        return 1.0

class Log:
    def __init__(self, config):
        pass
    def log(self, number):
        pass
    def close(self):
        pass

class Export:
    def __init__(self, config):
        pass
    def export(self, model, context, more):
        pass

class Silent:
    def __init__(self, config):
        pass

class Zipped(Silent):
    def export(self, model, context):
        return context.run_dir / "all.zip"

class Listed(Silent):
    def load(self):
        return [{"a": "b"}]

class Bare(Silent):
    def load(self):
        return RawData([{"a": "b"}])

class Lost(Silent):
    def load(self):
        raise ValueError("oh")

text = "text"
"""
PLUGIN = """
import numpy
from framework import Component, hookimpl, metric
from framework.api.schema import MetricConfig
from broken_acme import config as c

P = "broken_acme.parts:"

def framework_evaluators():
    yield 1

def framework_diagnostics():
    yield 1

def framework_version():
    return "1"

@hookimpl
def framework_metric():
    yield 1

@hookimpl
def framework_check_plan(paln):
    yield "problem"

@hookimpl
def framework_run_started(plan=None):
    pass

@hookimpl
def framework_run_failed(plan, *, error):
    pass

@hookimpl
def framework_exporter():
    yield 1

@hookimpl(specname="framework_components")
def parts():
    return None

@hookimpl(specname="framework_components")
def one_part():
    return Component("one", c.E1, P + "Silent")

@hookimpl(specname="framework_components")
def more_parts():
    raise ValueError("oh")

@hookimpl
def framework_components():
    yield "x"
    yield Component("no_dataclass", c.NoDataclass, P + "Plain")
    yield Component("unrelated", c.Unrelated, P + "Plain")
    yield Component("both", c.Both, P + "Plain")
    yield Component("base", MetricConfig, P + "Plain")
    yield Component("text", "x", P + "Plain")
    yield Component("shared1", c.Shared, P + "Plain")
    yield Component("shared2", c.Shared, P + "Plain")
    yield Component("lit", c.Lit, P + "Plain")
    yield Component("no_doc", c.NoDoc, P + "Plain")
    yield Component("odd", c.Odd, P + "Odd")
    yield Component("exact_match", c.Good, P + "Good")
    yield Component("twice", c.M1, P + "Attributes")
    yield Component("twice", c.M2, P + "Raises")
    yield Component("bad name", c.M3, "nothing", extra="acme[")
    yield Component("needs", c.Needs, P + "Needs")
    yield Component("null", c.M4, P + "Plain")
    yield Component("gone", c.E1, "broken_acme.gone:Export")
    yield Component("misspelt", c.E2, P + "Exprot")
    yield Component("text", c.E3, P + "text")
    yield Component("more", c.E4, P + "Export")
    yield Component("validated", c.Validated, P + "Silent")
    yield Component("zipped", c.E5, P + "Zipped")
    yield Component("listed", c.D1, P + "Listed")
    yield Component("bare", c.D2, P + "Bare")
    yield Component("lost", c.D3, P + "Lost")

@metric
def exact_match(answer):
    '''Has a name that is taken twice over.'''
    return 1.0

@hookimpl(specname="framework_components")
def loggers():
    yield Component("log", c.Log, P + "Log")

@hookimpl
def framework_config_paths():
    yield "pkg://broken_acme.conf"
    yield "pkg://broken_acme.bare"
    yield "pkg://broken_acme.empty"
    yield "file://conf"
    yield "broken_acme/conf"
    yield 3
"""
FILES = {
    "__init__.py": "",
    "config.py": CONFIG,
    "parts.py": PARTS,
    "plugin.py": PLUGIN,
    "bare/trainer/x.yaml": "defaults: [hf]",
    "empty/__init__.py": "",
    "conf/__init__.py": "",
    "conf/_shared/part.yaml": "anything: goes",
    "conf/trainer/fine.yaml": "defaults: [hf]\nlearning_rate: 1e-5",
    "conf/trainer/hf.yaml": "defaults: [hf]",
    "conf/trainer/typo.yaml": "defaults: [hf]\nlerning_rate: 1",
    "conf/trainer/bare.yaml": "learning_rate: 1e-5",
    "conf/trainer/far.yaml": "defaults: [hf]\nlearning_rate: 7",
    "conf/trainer/no_yaml.yaml": "a: [",
    "conf/metrics/x.yaml": "defaults: [lit]",
    "conf/evaluator/short_prompts.yaml": "# @package evaluator.prompts\ndefaults: ['prompts@_here_']",
    "conf/evaluator/unplaced.yaml": "defaults: [prompts]\ncount: 3",
    "conf/evaluator/old.yml": "a: 1",
    "conf/experiment/lost.yaml": "# @package _global_\ndefaults: [{override /model: no_such}]",
    "conf/experiment/gap.yaml": "# @package _global_\ndefaults: [{override /data: local_file}]\nname: gap",
}
EXPECTED = [
    r"broken_acme.plugin imports numpy when it is loaded, .*",
    r"framework_evaluators is named as a hook is, and there is none of that name: name it otherwise, "
    r"framework_components",
    r"framework_diagnostics has the name of a hook and no mark, so nothing calls it: write @hookimpl above it",
    r"framework_version is named as a hook is, and there is none of that name: name it otherwise.*",
    r"unknown hook 'framework_metric'. Did you mean 'framework_components', which registers the options of every .*\?",
    r"unknown hook 'framework_exporter'. Did you mean 'framework_components', which registers the .*",
    r"hook framework_check_plan takes \(plan\), this one takes \(paln\)",
    r"framework_run_started has a default for 'plan', and such an argument is never given: take it away",
    r"hook framework_run_failed takes \(plan, error\), this one takes \(.*error, by name only\)",
    r"framework_components returned None: yield what it registers",
    r"framework_components returned one Component: yield it",
    r"framework_components raises ValueError: oh \(.*plugin.py:\d+\)",
    r"framework_components yields 'x', not a Component",
    r"framework_config_paths yields 3, not a text",
    r"metric 'no_dataclass': its schema NoDataclass has no @dataclass of its own, .*",
    r"component 'unrelated': its schema Unrelated does not subclass the base of any group. Bases: .*",
    r"component 'both': its schema Both subclasses MetricConfig and ExporterConfig, but an option belongs to .*",
    r"metric 'base': its schema is MetricConfig itself: subclass it, .*",
    r"component 'text': its schema 'x' is not a class: .*",
    r"metric 'shared2' and metric 'shared1' share the schema Shared: .*",
    r"metric 'lit': its schema Lit cannot be a config: .*Literal.*",
    r"metric 'no_doc': NoDoc has no docstring: .*",
    r"metric 'no_doc': NoDoc.unread has no sentence under it that says what it does",
    r"metric 'no_doc': NoDoc.unread: the default 0 is not a whole number above 0",
    r"metric 'odd': Odd.count: its range cannot be tested: ZeroDivisionError: .*",
    r"metric 'bad name': extra='acme\[' is not a requirement of pip: .*",
    r"metric 'exact_match' is registered by two plugins, 'broken_acme.plugin' and 'evals' \(framework-.*=evals",
    r"metric 'exact_match' is registered twice by broken_acme.plugin: give one another name",
    r"metric 'twice' is registered twice by broken_acme.plugin: give one another name",
    r"metric 'bad name': a name is made of letters, digits and underscores",
    r"metric 'null': Hydra does not take this word for a name: give it another",
    r"metric 'twice': Attributes has higher_is_better=1, which has to be True or False",
    r"metric 'twice': Attributes has no attribute 'needs_reference'",
    r"metric 'twice': Attributes has score=3, no method score\(answer, reference\)",
    r"metric 'twice': broken_acme.parts:Raises raises ValueError: oh \(.*parts.py:\d+\) with the default settings",
    r"metric 'bad name': factory='nothing' has to be 'package.module:attribute'",
    r"metric 'needs': Needs has no attribute 'needs_reference'",
    r"metric 'needs': Needs has score\(reference, answer\), which has to be score\(answer, reference\)",
    r"logger 'log': Log has log\(number\), which has to be log\(event\)",
    r"exporter 'gone' cannot be loaded from broken_acme.gone:Export: there is no module 'broken_acme.gone'",
    r"exporter 'misspelt' cannot be loaded from broken_acme.parts:Exprot: 'broken_acme.parts' has no 'Exprot'. Did .*",
    r"exporter zipped returned PosixPath\('.*: return a list with an Artifact\(kind, path, bytes\) for each file .*",
    r"data=listed: load returned \[{'a': 'b'}\]: return RawData\(train=\[Row\(fields, where\), …\]\)",
    r"data=bare: the source gave the row {'a': 'b'}: make each a Row\(fields, where\)",
    r"data=lost: load raises ValueError: oh \(.*parts.py:\d+\): raise FrameworkError for what a user can fix",
    r"exporter 'text': broken_acme.parts:text cannot be called: it is 'text'",
    r"exporter 'more': Export has export\(model, context, more\), which has to be export\(model, context\)",
    r"exporter 'validated': Silent has no method export\(model, context\)",
    r"framework_config_paths: pkg://broken_acme.bare is not a package: .* only if it has an __init__.py",
    r"framework_config_paths: pkg://broken_acme.empty holds no .yaml file",
    r"framework_config_paths: file://conf is not a folder, or not absolute",
    r"framework_config_paths: broken_acme/conf is neither 'pkg://package.conf' nor .*",
    r"pkg://broken_acme.conf/evaluator/old.yml: Hydra reads only .yaml files: rename it",
    r"pkg://broken_acme.conf/evaluator/short_prompts: the plugin 'evals' has a file of that name, .*",
    r"pkg://broken_acme.conf/metrics/x: unknown config group 'metrics'. Did you mean 'metric'\? .*",
    r"pkg://broken_acme.conf/trainer/hf: it has the name of a component of 'trainer', .*",
    r"pkg://broken_acme.conf/evaluator/unplaced: evaluator=\[unplaced\] cannot be composed: .*count.*",
    r"pkg://broken_acme.conf/experiment/lost: \+experiment=lost cannot be composed: .*model/no_such.*",
    r"pkg://broken_acme.conf/trainer/far: trainer=far: .*trainer.learning_rate=7 must be .*",
    r"pkg://broken_acme.conf/trainer/bare: trainer=bare: .*trainer is not built on any option of 'trainer': .*",
    r"pkg://broken_acme.conf/trainer/no_yaml: trainer=no_yaml cannot be composed: .*broken_acme.conf/trainer/no_yaml.*",
    r"pkg://broken_acme.conf/trainer/typo: trainer=typo cannot be composed: .*lerning_rate.*",
    r"metric 'no_doc': nothing in broken_acme reads NoDoc.unread",
    r"exporter 'validated': nothing in broken_acme reads Validated.depth",
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Return the report on the plugin that has every fault there is."""
    root = tmp_path_factory.mktemp("broken")
    for name, text in FILES.items():
        file = root / "broken_acme" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield check_plugin("broken_acme.plugin")


def test_each_problem_is_reported_once_and_nothing_else(told: list[str]) -> None:
    count = {expected: sum(bool(re.fullmatch(expected, line)) for line in told) for expected in EXPECTED}
    assert {expected: times for expected, times in count.items() if times != 1} == {}
    assert [line for line in told if not any(re.fullmatch(expected, line) for expected in EXPECTED)] == []


GOOD = """
    from dataclasses import asdict, dataclass, field
    from enum import Enum
    from typing import Annotated
    from annotated_types import Gt
    from omegaconf import MISSING
    from framework import Component, FrameworkError, exporter, formatter, hookimpl, metric
    from framework.api.protocols import Logger
    from framework.api.records import Artifact
    from framework.api.schema import CommandConfig, ExporterConfig, FormatConfig, LoggerConfig, MetricConfig

    class Kind(Enum):
        one = "one"

    @dataclass
    class PoliteConfig(MetricConfig):
        '''1 if the answer says the word.'''

        word: str = "please"
        '''The word to look for.'''

    @metric
    def polite(answer, options: PoliteConfig):
        '''1 if the answer says the word.'''
        return float(options.word in answer)

    @formatter("question", "solution")
    def quiz(row):
        '''question and solution.'''
        yield "user", row["question"]
        yield "assistant", row["solution"]

    @dataclass
    class SeedConfig(ExporterConfig):
        '''The seed, in a file.'''

        name: str = "seed.txt"
        '''The file.'''

    @exporter
    def seed(model, context, options: SeedConfig):
        '''The seed, in a file.'''
        file = context.run_dir / options.name
        file.write_text(str(context.plan.seed))
        return [Artifact("seed", options.name, file.stat().st_size)]

    @dataclass
    class CardConfig(ExporterConfig):
        '''A card.'''

        file: str = MISSING
        '''Its name.'''
        kind: Kind = Kind.one
        '''Its kind.'''
        size: Annotated[int | None, Gt(0)] = None
        '''Its size.'''
        words: list[str] = field(default_factory=list)
        '''Its words.'''
        seed: int = "${seed}"
        '''Its seed.'''

        @property
        def name(self):
            return self.file + self.kind.value

    class Card:
        def __init__(self, config):
            self.config = config

        def export(self, model, context):
            return [getattr(self.config, "size"), self.config.name, self.config.words, self.config.seed]

    @dataclass
    class NoteConfig(LoggerConfig):
        '''A logger that takes its settings all at once.'''

        color: str = "red"
        '''A colour.'''

    class Note(Logger):
        def __init__(self, config):
            self.settings = asdict(config)

        def log(self, event):
            pass

    @dataclass
    class NowhereConfig(MetricConfig):
        '''A metric that says that it cannot work here.'''

    class Nowhere:
        higher_is_better: bool

        def __init__(self, config):
            self.needs_reference = True
            raise FrameworkError("no GPU")

        def score(self, *args, **named):
            pass

    @hookimpl
    def framework_components():
        return [
            Component("card", CardConfig, "acme_good:Card", extra="packaging>=20"),
            Component("note", NoteConfig, "acme_good:Note"),
            Component("nowhere", NowhereConfig, "acme_good:Nowhere"),
        ]

    @hookimpl
    def framework_check_plan(plan):
        yield from ()

    @hookimpl
    def framework_run_started():
        pass
"""


@pytest.fixture(autouse=True)
def copies() -> Iterator[None]:
    """Let checks run in copies of a Python that has imported torch; `told`, which is made before, looks at imports."""
    with in_place_of_processes():
        yield


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "acme_good.py"
    file.write_text(dedent(GOOD), encoding="utf-8")
    return file


@pytest.mark.usefixtures("good")
def test_a_plugin_in_order_has_no_problem_given_by_its_file() -> None:
    before = set(sys.modules), current().plugins.manager.get_plugins()
    assert check_plugin("./acme_good.py") == []
    new = {name for name in set(sys.modules) - before[0] if name.startswith("acme")}
    assert (new, current().plugins.manager.get_plugins()) == (set(), before[1])


def test_nor_as_a_module_that_cannot_be_imported_by_its_name(good: Path) -> None:
    spec = importlib.util.spec_from_file_location("acme_good", good)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["acme_good"] = module
    try:
        spec.loader.exec_module(module)
        assert check_plugin(module) == []
    finally:
        del sys.modules["acme_good"]


def test_nor_by_the_file_of_a_module_in_a_package(good: Path) -> None:
    package = good.parent / "acme_package"
    package.mkdir()
    (package / "__init__.py").touch()
    text = good.read_text(encoding="utf-8").replace("acme_good", "acme_package.plugin")
    (package / "plugin.py").write_text(text, encoding="utf-8")
    assert check_plugin(str(package / "plugin.py")) == []


def test_an_installed_plugin_does_not_contradict_itself() -> None:
    assert check_plugin(importlib.import_module("framework_plugins.report.plugin")) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "acme.py",
            "x = 1",
            r"nothing in acme is a plugin: mark a hook with @hookimpl, or a function with @metric, .*",
        ),
        ("acme.py", "import nowhere", r"acme cannot be imported: ModuleNotFoundError: .*'nowhere' \(.*acme.py:1\)"),
        ("acme.py", "raise SystemExit(3)", r"acme cannot be imported: SystemExit: 3 .*"),
        ("acme.py", "import os; os._exit(3)", r"acme: its Python process exited with code 3"),
        (
            "json.py",
            "x = 1",
            r"json cannot be imported: ImportError: 'json' is not available as a module name: .*",
        ),
    ],
)
def test_a_module_that_is_no_plugin_is_reported_in_one_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (line,) = check_plugin(str(tmp_path / name))
    assert re.fullmatch(problem, line), line


def test_a_setting_of_a_decorated_function_that_it_does_not_read_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "acme.py"
    text = dedent(GOOD).replace("options.word", "'please'").replace("acme_good", "acme")
    file.write_text(text, encoding="utf-8")
    assert check_plugin(str(file)) == ["metric 'polite': nothing in acme reads PoliteConfig.word"]


def test_a_config_that_reads_all_of_its_fields_reads_each(tmp_path: Path) -> None:
    file, method = tmp_path / "acme.py", "\n\n    def arguments(self):\n        return asdict(self)\n"
    head, mark, rest = (
        dedent(GOOD).replace("options.word", "'please'").replace("acme_good", "acme").partition("@metric")
    )
    file.write_text(f"{head.rstrip()}{method}\n\n{mark}{rest}", encoding="utf-8")
    assert check_plugin(str(file)) == []


def test_another_default_of_a_setting_is_read_by_who_reads_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "acme.py"
    text = """
        from dataclasses import dataclass

        from framework import Component, hookimpl
        from framework.api.schema import DataConfig


        @dataclass
        class AcmeConfig(DataConfig):
            \"\"\"Rows of Acme's.\"\"\"

            validation_split: float = 0.3
            \"\"\"Share that is held out.\"\"\"
            unread: int = 3
            \"\"\"Nothing.\"\"\"


        class Acme:
            def __init__(self, config: AcmeConfig) -> None: ...
            def load(self): ...


        @hookimpl
        def framework_components():
            \"\"\"Rows.\"\"\"
            yield Component("acme", AcmeConfig, "acme:Acme")
    """
    file.write_text(dedent(text), encoding="utf-8")
    assert [line for line in check_plugin(str(file)) if "nothing in" in line] == [
        "data 'acme': nothing in acme reads AcmeConfig.unread"
    ]


DIAGNOSTICS = """
    from framework import hookimpl
    from framework.api.diagnostic import Diagnostic, DiagnosticResult, State

    level = 3

    def sox(plan):
        raise SystemExit("nobody is to call this here")

    @hookimpl
    def framework_diagnostics():
        yield Diagnostic("sox", "sound", "acme_sound:sox")
        yield Diagnostic("gone", "sound", "acme_sound:gone")
        yield Diagnostic("level", "sound", "acme_sound:level")
        yield Diagnostic("short", "sound", "acme_sound")
        yield "sox"
"""


def test_hook_checkups_has_to_give_checkups_whose_code_can_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "acme_sound.py"
    file.write_text(dedent(DIAGNOSTICS), encoding="utf-8")
    short, none, gone, level = check_plugin(str(file))
    assert short == "diagnostic 'short': check='acme_sound' has to be 'package.module:function'"
    assert none == "framework_diagnostics gives str, not a Diagnostic"
    assert gone.startswith("diagnostic 'gone': acme_sound:gone cannot be imported: AttributeError: ")
    assert level == "diagnostic 'level': acme_sound:level cannot be called: it is 3"


def test_what_is_registered_by_hand_in_this_process_is_neither_seen_nor_lost(tmp_path: Path) -> None:
    class Registered:
        @hookimpl
        def framework_components(self) -> Iterator[Component]:
            yield Component("polite", PoliteConfig, "nowhere:Polite")

    plugin = Registered()
    current().plugins.manager.register(plugin, name="by hand")
    try:
        file = tmp_path / "acme_good.py"
        file.write_text(dedent(GOOD), encoding="utf-8")
        assert check_plugin(str(file)) == []
        assert current().plugins.manager.has_plugin("by hand")
    finally:
        current().plugins.manager.unregister(plugin)


@dataclass
class PoliteConfig(MetricConfig):
    """Registered by hand."""


def test_every_group_has_its_protocol() -> None:
    assert all(not group.product.__name__.startswith("_") for group in ALL_GROUPS.values())
    assert lacks(protocols.Logger, protocols.Logger) == []


class Loose:
    """Takes everything."""

    higher_is_better = needs_reference = True

    def score(self, *_: object, **__: object) -> float:
        return 1.0


class Defaults(Loose):
    """Takes more, which has defaults."""

    def score(self, answer: str, reference: str | None = None, more: int = 1) -> float:  # type: ignore[override]
        return float(len(answer + (reference or "")) * more)


class Swapped(Loose):
    """Takes the same names in another order."""

    def score(self, reference: str, answer: str) -> float:  # type: ignore[override]
        return float(len(answer + reference))


class Static(Loose):
    """Has no self."""

    @staticmethod
    def score(answer: str, reference: str) -> float:  # type: ignore[override]
        return float(len(answer + reference))


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Loose, False), (Defaults, False), (Static, False), (Swapped, True)], ids=str
)
def test_a_method_takes_the_parameters_by_name_and_in_their_order(kind: type, *, wrong: bool) -> None:
    for product in (kind, kind()):
        assert bool(lacks(product, protocols.Metric)) is wrong


class AllAtOnce(protocols.AnswerMetric):
    """The other kind of metric."""

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        return Scores([1.0 for _ in answers])


class Misnamed(AllAtOnce):
    """Takes its answers under another name."""

    def score_all(self, given: Sequence[Answered]) -> Scores:
        return Scores([1.0 for _ in given])


class Torn(AllAtOnce):
    """Does not know."""

    needs_log_probs = None  # type: ignore[assignment]


class Unrelated:
    """Has the method of the other kind, and not its base."""

    higher_is_better = needs_reference = True
    score_all = AllAtOnce.score_all


@pytest.mark.parametrize(
    ("kind", "problems"),
    [
        (AllAtOnce, []),
        (Misnamed, ["has score_all(given), which has to be score_all(answers)"]),
        (Torn, ["has needs_log_probs=None, which has to be True or False"]),
        (
            Unrelated,
            ["has no method score(answer, reference): subclass framework.api.AnswerMetric for score_all(answers)"],
        ),
    ],
)
def test_a_metric_may_see_all_answers_at_once(kind: type, problems: list[str]) -> None:
    for product in (kind, kind()):
        assert lacks(product, protocols.Metric) == problems
