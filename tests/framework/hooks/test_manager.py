"""Third-party plugins, installed as pip does it: a folder with a dist-info beside the module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from framework import Component, __version__, hookimpl
from framework.api.component import GROUPS
from framework.api.schema import MetricConfig
from framework.hooks.session import current
from tests.support.forked_program import Result, program

METRIC = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.api.schema import MetricConfig

@dataclass
class Polite(MetricConfig):
    '''1 if the answer says please.'''

@hookimpl
def framework_components():
    yield Component("{name}", Polite, "acme.metrics:Polite")
"""


def install(site: Path, name: str, source: str) -> None:
    """Make an installed distribution with one plugin."""
    (site / f"{name}.py").write_text(source, encoding="utf-8")
    about = site / f"{name}_dist-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.2\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[framework]\n{name} = {name}\n", encoding="utf-8")


def run(site: Path, *words: str, **env: str) -> Result:
    return program(*words, cwd=site, env={"PYTHONPATH": str(site), **env})


def test_a_strangers_component_is_an_option_like_any_other(tmp_path: Path) -> None:
    install(tmp_path, "acme", METRIC.format(name="polite"))
    result = run(tmp_path, "plugins", "metric")
    assert (result.code, result.err) == (0, "")
    expected = "polite 1 if the answer says please. acme-dist 1.2"
    assert any(" ".join(line.split()) == expected for line in lines(result))


HOOK = "from framework import hookimpl\n@hookimpl\n"
WRAPPER = "from framework import hookimpl\n@hookimpl({})\ndef framework_components(): return (yield)"
REGISTERS = "from framework import FrameworkError, hookimpl\n@hookimpl\ndef framework_components(): raise {}"
WRAPS = "hook framework_components is marked as a wrapper, but hooks are called one by one: write only @hookimpl ("
BROKEN = {
    "import acme_missing": "skipped: ModuleNotFoundError: No module named 'acme_missing'",
    "1 / 0": "skipped: ZeroDivisionError: division by zero",
    f"{HOOK}def framework_concernz(): ...": "skipped: unknown hook 'framework_concernz'. Did you mean "
    "'framework_concerns'? ({file}:2)",
    f"{HOOK}def framework_exporters(): ...": "skipped: unknown hook 'framework_exporters'. Did you mean "
    "'framework_components', which registers the options of every group? ({file}:2)",
    f"{HOOK}def framework_check_plan(plam): ...": "skipped: hook framework_check_plan takes (plan), this one takes "
    "(plam) ({file}:2)",
    f"{HOOK}def framework_check_plan(*, plan): ...": "skipped: hook framework_check_plan takes (plan), this one takes "
    "(plan, by name only) ({file}:2)",
    WRAPPER.format("wrapper=True"): f"skipped: {WRAPS}",
    WRAPPER.format("hookwrapper=True"): f"skipped: {WRAPS}",
    f"{HOOK}async def framework_components(): return []": "skipped: hook framework_components is async, and nothing "
    "would await it: write def, not async def ({file}:2)",
    "from framework import metric\n@metric\nasync def late(answer):\n    'Late.'": "skipped: TypeError: {name}.late is "
    "async, and nothing would await it: write def, not async def (",
    "import sys; sys.exit()": "skipped: SystemExit: no message ({file}:1)",
    REGISTERS.format("RuntimeError('not today')"): "framework_components is skipped: RuntimeError: not today",
    REGISTERS.format("FrameworkError('not today')"): "framework_components is skipped: not today",
}


def test_broken_plugins_are_named_and_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    expected = {}
    for number, (source, reason) in enumerate(BROKEN.items()):
        name = f"acme{number}"
        install(tmp_path, name, source)
        what = reason.format(file=tmp_path / f"{name}.py", name=name)
        expected[name] = f"plugin '{name}' of {name}-dist 1.2{' is' if what.startswith('skipped') else ':'} {what}"
    result = run(tmp_path, "plugins", "metric")
    assert (result.code, "exact_match" in result.out) == (0, True)
    told = {line.split("'")[1]: line for line in result.err.splitlines()}
    assert told.keys() == expected.keys()
    for name, line in told.items():
        assert line.startswith(expected[name]), line
        assert line.endswith(f"Switch it off: FRAMEWORK_DISABLE_PLUGINS={name}")
    assert run(tmp_path, "stages=[plan]", "run_dir=run").code == 0  # what does not need them runs


def test_a_plugin_that_is_switched_off_is_not_even_imported(tmp_path: Path) -> None:
    install(tmp_path, "acme", "1 / 0")
    result = run(tmp_path, "plugins", "metric", FRAMEWORK_DISABLE_PLUGINS=" other , acme ")
    assert (result.code, result.err) == (0, "")


def test_two_plugins_with_one_name_are_both_named_with_the_way_out(tmp_path: Path) -> None:
    install(tmp_path, "acme", METRIC.format(name="exact_match"))
    result = run(tmp_path, "--cfg", "job")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith(
        "metric 'exact_match' is registered by two plugins, 'acme' (acme-dist 1.2) and 'evals' (framework-finetune "
    )
    assert line.endswith("Switch one off: FRAMEWORK_DISABLE_PLUGINS=acme")
    assert run(tmp_path, "--cfg", "job", FRAMEWORK_DISABLE_PLUGINS="acme").code == 0


def test_a_plugin_that_takes_the_schema_of_ours_is_the_one_to_blame(tmp_path: Path) -> None:
    source = """
        from framework import Component, hookimpl
        from framework_plugins.evals.config import ExactMatchConfig

        @hookimpl
        def framework_components():
            yield Component("taken", ExactMatchConfig, "acme:Missing")
    """
    for stranger in ("acme", "zebra"):  # before and after ours in the order of the names
        install(tmp_path, stranger, dedent(source))
    result = run(tmp_path, "metric=[exact_match]", "stages=[plan]", "run_dir=run")
    reason = "metric 'taken' is skipped: metric 'exact_match' of 'evals' (framework-finetune "
    for stranger, line in zip(("acme", "zebra"), result.err.splitlines(), strict=True):
        assert line.startswith(f"plugin '{stranger}' of {stranger}-dist 1.2: {reason}")
    assert result.code == 0


def test_one_name_twice_in_one_plugin_is_not_reported_as_two_plugins(tmp_path: Path) -> None:
    source = METRIC.format(name="polite")
    again = "Component('polite', dataclass(type('Other', (Polite,), {})), 'acme:Other')"
    install(tmp_path, "acme", f"{source}    yield {again}\n")
    assert run(tmp_path, "--cfg", "job").err.splitlines() == [
        "metric 'polite' is registered twice by the plugin 'acme' (acme-dist 1.2): rename one of them. "
        "Switch it off: FRAMEWORK_DISABLE_PLUGINS=acme"
    ]


def test_a_plugins_config_folder_is_on_the_search_path_and_its_problems_with_a_plan_are_reported(
    tmp_path: Path,
) -> None:
    (tmp_path / "acme_conf" / "experiment").mkdir(parents=True)
    (tmp_path / "acme_conf" / "__init__.py").touch()
    preset = "# @package _global_\nseed: 13\n"
    (tmp_path / "acme_conf" / "experiment" / "unlucky.yaml").write_text(preset, encoding="utf-8")
    source = """
        from framework import hookimpl
        from framework.api import Problem

        @hookimpl
        def framework_config_paths():
            return "pkg://acme_conf"  # a text is one item

        @hookimpl
        def framework_check_plan(plan):
            if plan.seed == 13:
                yield Problem(f"seed={plan.seed} brings bad luck", ("seed",))
            if plan.settings.objective == "train_loss":
                yield "objective=train_loss says little"
    """
    install(tmp_path, "acme", dedent(source))
    result = run(tmp_path, "+experiment=unlucky", "objective=train_loss", "stages=[plan]", "trainer.max_steps=0")
    assert result.code == 2
    assert result.err.splitlines() == [
        "trainer.max_steps=0 must be a whole number above 0, up to 1000000000, or null",
        "acme_conf/experiment/unlucky.yaml:2: seed=13 brings bad luck",
        "objective=train_loss says little",
    ]


def test_a_second_plugin_of_a_name_and_what_an_uninstallation_left_behind_are_skipped(tmp_path: Path) -> None:
    site = tmp_path / "site"
    about = site / "another-3.0.dist-info"  # before ours in the order of the names
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 3.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(
        "[framework]\nchat = another.hooks\ncore = another.hooks\n", encoding="utf-8"
    )
    left = site / "evil.egg-info"
    left.mkdir()
    (left / "entry_points.txt").write_text("[framework]\nevil = evil.hooks\n", encoding="utf-8")
    result = program("plugins", "command", cwd=tmp_path, env={"PYTHONPATH": str(site)})
    assert result.code == 0
    told = {line.split("'")[1]: line for line in result.err.splitlines()}
    assert told.keys() == {"chat", "core", "evil"}
    assert told["evil"].startswith(f"plugin 'evil' of {left} is skipped: ")
    for name, first in {"core": "the framework itself", "chat": f"framework-finetune {__version__}"}.items():
        assert told[name] == (
            f"plugin '{name}' of another 3.0 is skipped: {first} already has a plugin of that name. Rename its entry "
            f"point, '{name} = another.hooks', or uninstall it"
        )
        assert f"  {name} (another 3.0), the plugin: {first} already has a plugin of that name" in lines(result)
    assert any(row.startswith("  chat ") for row in lines(result))


@dataclass
class LaterConfig(MetricConfig):
    """Registered in the middle of a program."""


class Later:
    def __init__(self) -> None:
        self.asked = 0

    @hookimpl
    def framework_components(self) -> Iterator[Component]:
        self.asked += 1
        yield Component("later", LaterConfig, "acme:Later")


def test_plugins_are_asked_once_and_again_when_one_comes_or_goes() -> None:
    before = current().plugins.components("metric")
    plugin = Later()
    current().plugins.manager.register(plugin, name="later")
    try:
        assert current().plugins.components("metric").keys() - before.keys() == {"later"}
        assert "later" not in current().plugins.components("exporter")
        assert plugin.asked == 1
    finally:
        current().plugins.manager.unregister(plugin)
    assert current().plugins.components("metric") == before


@pytest.mark.parametrize("group", GROUPS)
def test_the_options_of_a_group_come_in_order_and_build_on_its_base(group: str) -> None:
    found = current().plugins.components(group)
    assert list(found) == sorted(found)
    assert found or group == "callback"  # the only group without an option of ours
    assert all(issubclass(component.schema, GROUPS[group].base) for component in found.values())
    assert all(component.summary for component in found.values())


def test_two_options_of_a_group_have_schemas_of_their_own() -> None:
    schemas = [component.schema for group in GROUPS for component in current().plugins.components(group).values()]
    assert len(schemas) == len(set(schemas))


def lines(result: Result) -> list[str]:
    return result.out.splitlines()


PARTLY = """
import sys
from dataclasses import dataclass, field
from framework import Component, hookimpl
from framework.api.schema import ExporterConfig, MetricConfig

@dataclass
class GoodConfig(MetricConfig):
    'Good.'

@dataclass
class OddConfig(MetricConfig):
    'Of a type that no config can have.'
    kind: set = None

@dataclass
class UndefinedConfig(MetricConfig):
    'Of a type that nobody has defined.'
    kind: "Undefined" = None

@dataclass
class FailingConfig(MetricConfig):
    'With a default that cannot be made.'
    kind: list[int] = field(default_factory=lambda: [1 / 0])

@dataclass
class OtherwiseWrong(MetricConfig):
    'All right.'

@dataclass
class TwoConfig(MetricConfig, ExporterConfig):
    'Of two groups.'

class UndecoratedConfig(MetricConfig):
    'Its field is none.'
    kind: str = "odd"

@dataclass
class Other:
    'Of no group.'

class Missing:
    'Makes all of them.'
    needs_reference = False

    def __init__(self, config):
        pass

@hookimpl
def framework_components():
    yield Component("good", GoodConfig, "acme:Missing")
    yield Component("odd", OddConfig, "acme:Missing")
    yield Component("bare", MetricConfig, "acme:Missing")
    yield Component("other", Other, "acme:Missing")
    yield Component("instance", GoodConfig(), "acme:Missing")
    yield Component("text", "GoodConfig", "acme:Missing")
    yield Component("two", TwoConfig, "acme:Missing")
    yield Component("undecorated", UndecoratedConfig, "acme:Missing")
    yield Component("undefined", UndefinedConfig, "acme:Missing")
    yield Component("failing", FailingConfig, "acme:Missing")
    yield Component("again", GoodConfig, "acme:Missing")
    yield Component(7, OtherwiseWrong, "acme:Missing")
    yield Component("two words", OtherwiseWrong, "acme:Missing")
    yield Component("numbered", OtherwiseWrong, 3)
    yield Component("nowhere", OtherwiseWrong, "acme")
    yield Component("needy", OtherwiseWrong, "acme:Missing", extra=3)
    yield "words"

@hookimpl
def framework_config_paths():
    sys.exit("no folders today")

@hookimpl
def framework_run_started(plan):
    sys.exit()

@hookimpl
def framework_check_plan(plan):
    return [plan.nothing]
"""


REASONS = [
    (
        "component 'instance'",
        "its schema GoodConfig() is not a class: give a dataclass that subclasses the base of a group",
    ),
    (
        "component 'other'",
        "its schema Other does not subclass the base of any group. Bases: ModelConfig, "
        "QuantizationConfig, AdapterConfig, DataConfig, FormatConfig, AuditConfig, MethodConfig, LossConfig, "
        "TrainerConfig, OptimizerConfig, ScheduleConfig, SamplerConfig, CallbackConfig, LaunchConfig, "
        "MetricConfig, RolloutConfig, RewardConfig, EvaluatorConfig, ExporterConfig, LoggerConfig, "
        "CommandConfig, SpeakerConfig",
    ),
    (
        "component 'text'",
        "its schema 'GoodConfig' is not a class: give a dataclass that subclasses the base of a group",
    ),
    (
        "component 'two'",
        "its schema TwoConfig subclasses MetricConfig and ExporterConfig, but an option belongs to one group: "
        "keep one of them",
    ),
    ("component 'words'", "framework_components returned str, not a Component"),
    ("framework_check_plan", "AttributeError: 'Plan' object has no attribute 'nothing'"),
    ("framework_config_paths", "SystemExit: no folders today"),
    ("metric '7'", "its name 7 has to be a word of letters, digits and underscores"),
    (
        "metric 'again'",
        "metric 'good' of 'acme' (acme-dist 1.2) has the same schema: subclass it, because the class identifies "
        "the option",
    ),
    ("metric 'bare'", "its schema is MetricConfig itself: subclass it, because the class identifies the option"),
    ("metric 'failing'", "its schema FailingConfig cannot be a config: ZeroDivisionError: division by zero"),
    ("metric 'needy'", "extra=3 has to be arguments of pip install"),
    ("metric 'nowhere'", "factory='acme' has to be 'package.module:attribute'"),
    ("metric 'numbered'", "factory=3 has to be 'package.module:attribute'"),
    ("metric 'odd'", "its schema OddConfig cannot be a config: ValidationError: Unexpected type annotation: set"),
    ("metric 'two words'", "its name 'two words' has to be a word of letters, digits and underscores"),
    (
        "metric 'undecorated'",
        "its schema UndecoratedConfig has no @dataclass of its own, so it has no fields: write it above the class",
    ),
    ("metric 'undefined'", "its schema UndefinedConfig cannot be a config: NameError: name 'Undefined' is not defined"),
]


def test_what_a_plugin_gets_wrong_is_named_part_by_part_and_the_rest_of_it_works(tmp_path: Path) -> None:
    install(tmp_path, "acme", PARTLY)
    result = run(tmp_path, "metric=[good]", "stages=[plan]", "run_dir=run")
    assert result.code == 0
    told = [
        line.removeprefix("plugin 'acme' of acme-dist 1.2: ").partition(" is skipped: ") for line in lines_of(result)
    ]
    assert all(reason.endswith(". Switch it off: FRAMEWORK_DISABLE_PLUGINS=acme") for _, _, reason in told)
    short = sorted(
        (what, reason.rpartition(". ")[0].partition(f" ({tmp_path}/acme.py:")[0]) for what, _, reason in told
    )
    assert short == REASONS


def lines_of(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("plugin ")]


MERGED = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.api.schema import ExporterConfig, TrainerConfig

@dataclass
class MergedConfig(ExporterConfig):
    "Needs an adapter to merge."

@dataclass
class PackerConfig(TrainerConfig):
    "A trainer that can pack."
    folding: bool = False
    "Several rows in one sequence."

def Missing(config):
    'Makes all of them.'

@hookimpl
def framework_components():
    yield Component("fused", MergedConfig, "acme:Missing")
    yield Component("packer", PackerConfig, "acme:Missing")

@hookimpl
def framework_check_plan(plan):
    if "fused" in plan.exporter and plan.adapter.component.name == "full":
        yield "exporter=[fused] merges an adapter and adapter=full trains none: set adapter=lora"
"""


def test_an_exporter_refuses_a_plan_and_a_setting_of_one_trainer_is_none_of_another(tmp_path: Path) -> None:
    install(tmp_path, "acme", MERGED)
    result = run(tmp_path, "exporter=[fused]", "adapter=full", "trainer.folding=true", "stages=[plan]")
    assert result.err.splitlines() == [
        "trainer.folding=true: unknown key 'trainer.folding': trainer=hf does not have it. It belongs to "
        "trainer=packer: choose that too."
    ]
    result = run(tmp_path, "exporter=[fused]", "adapter=full", "stages=[plan]", "run_dir=run")
    assert result.err.splitlines() == [
        "exporter=[fused] merges an adapter and adapter=full trains none: set adapter=lora"
    ]
    assert result.code == 2
    words = ("exporter=[fused]", "trainer=packer", "trainer.folding=true", "stages=[plan]", "run_dir=run")
    assert run(tmp_path, *words).code == 0


def test_a_factory_that_does_not_exist_is_found_at_the_plan(tmp_path: Path) -> None:
    install(tmp_path, "acme", MERGED.replace("def Missing", "def Mising"))
    result = run(tmp_path, "exporter=[fused]", "stages=[plan]", "run_dir=run")
    told = "exporter 'fused' cannot be loaded from acme:Missing: 'acme' has no 'Missing'. Did you mean 'Mising'?"
    assert (result.code, told in result.err) == (2, True), result.err
