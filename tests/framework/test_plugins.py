"""Plugins of strangers, installed as pip would: a folder with a dist-info beside the module."""

from pathlib import Path
from textwrap import dedent

import pytest

from framework.component import GROUPS
from framework.plugins import components
from tests.framework.program import Result, program

METRIC = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.schema import MetricConfig

@dataclass
class Polite(MetricConfig):
    '''1 where the answer says please.'''

@hookimpl
def framework_metrics():
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
    expected = "polite 1 where the answer says please. acme-dist 1.2"
    assert any(" ".join(line.split()) == expected for line in lines(result))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import acme_missing", "ModuleNotFoundError: No module named 'acme_missing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            "from framework import hookimpl\n@hookimpl\ndef framework_metriks(): ...",
            "PluginValidationError: unknown hook 'framework_metriks'",
        ),
        (
            "from framework import hookimpl\n@hookimpl\ndef framework_check_plan(plam): ...",
            "PluginValidationError: Plugin 'acme' for hook 'framework_check_plan'",
        ),
    ],
    ids=["missing library", "raises", "unknown hook", "wrong argument"],
)
def test_a_broken_plugin_is_named_and_left_out_and_the_rest_goes_on(tmp_path: Path, source: str, reason: str) -> None:
    install(tmp_path, "acme", source)
    result = run(tmp_path, "plugins", "metric")
    (line,) = result.err.splitlines()
    assert line.startswith(f"plugin 'acme' of acme-dist 1.2 is left out: {reason}")
    assert line.endswith("Switch it off: FRAMEWORK_DISABLE_PLUGINS=acme")
    assert result.code == 0
    assert "exact_match" in result.out
    assert run(tmp_path, "stages=[plan]", "run_dir=run").code == 0  # what does not need it goes on


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
        "metric 'exact_match' is registered by two plugins, 'acme' (acme-dist 1.2) and 'evals' (framework "
    )
    assert line.endswith("Switch one off: FRAMEWORK_DISABLE_PLUGINS=acme")
    assert run(tmp_path, "--cfg", "job", FRAMEWORK_DISABLE_PLUGINS="acme").code == 0


def test_a_plugins_config_folder_is_on_the_search_path_and_its_problems_with_a_plan_are_told(tmp_path: Path) -> None:
    (tmp_path / "acme_conf" / "experiment").mkdir(parents=True)
    (tmp_path / "acme_conf" / "__init__.py").touch()
    preset = "# @package _global_\nseed: 13\n"
    (tmp_path / "acme_conf" / "experiment" / "unlucky.yaml").write_text(preset, encoding="utf-8")
    source = """
        from framework import hookimpl

        @hookimpl
        def framework_config_paths():
            yield "pkg://acme_conf"

        @hookimpl
        def framework_check_plan(plan):
            if plan.seed == 13:
                yield f"seed={plan.seed} brings bad luck"
            if plan.objective == "train_loss":
                yield "objective=train_loss says little"
    """
    install(tmp_path, "acme", dedent(source))
    result = run(tmp_path, "+experiment=unlucky", "objective=train_loss", "stages=[plan]", "trainer.max_steps=0")
    assert result.code == 2
    assert result.err.splitlines() == [
        "trainer.max_steps=0 must be a whole number above 0, or null",
        "acme_conf/experiment/unlucky.yaml:2: seed=13 brings bad luck",
        "objective=train_loss says little",
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_the_options_of_a_group_come_in_order_and_build_on_its_base(group: str) -> None:
    found = components(group)
    assert list(found) == sorted(found)
    assert found
    assert all(issubclass(component.schema, GROUPS[group].base) for component in found.values())
    assert all(component.summary for component in found.values())


def test_two_options_of_a_group_have_schemas_of_their_own() -> None:
    schemas = [component.schema for group in GROUPS for component in components(group).values()]
    assert len(schemas) == len(set(schemas))


def lines(result: Result) -> list[str]:
    return result.out.splitlines()


PARTLY = """
from dataclasses import dataclass
from framework import Component, FrameworkError, hookimpl
from framework.schema import MetricConfig
from typing import Literal

@dataclass
class GoodConfig(MetricConfig):
    'Good.'

@dataclass
class OddConfig(MetricConfig):
    'Of a type that no config can have.'
    kind: set = None

class Other:
    pass

@hookimpl
def framework_metrics():
    yield Component("good", GoodConfig, "acme:Missing")
    yield Component("odd", OddConfig, "acme:Missing")
    yield Component("bare", MetricConfig, "acme:Missing")
    yield Component("other", Other, "acme:Missing")
    yield "text"

@hookimpl
def framework_loggers():
    raise RuntimeError("no loggers today")

@hookimpl
def framework_check_plan(plan):
    return [plan.nothing]
"""


def test_what_a_plugin_gets_wrong_is_named_part_by_part_and_the_rest_of_it_works(tmp_path: Path) -> None:
    install(tmp_path, "acme", PARTLY)
    result = run(tmp_path, "metric=[good]", "stages=[plan]", "run_dir=run")
    assert result.code == 0
    told = [
        line.removeprefix("plugin 'acme' of acme-dist 1.2: ").partition(" is left out: ") for line in lines_of(result)
    ]
    assert {what for what, _, _ in told} == {
        "metric 'odd'", "metric 'bare'", "metric 'other'", "metric 'text'", "framework_loggers", "framework_check_plan",
    }  # fmt: skip
    assert all(reason.endswith("Switch it off: FRAMEWORK_DISABLE_PLUGINS=acme") for _, _, reason in told)
    assert any("RuntimeError: no loggers today (" in reason and "acme.py:" in reason for _, _, reason in told)


def test_a_component_whose_code_is_not_there_is_told_when_it_is_used(tmp_path: Path) -> None:
    install(tmp_path, "acme", METRIC.format(name="polite"))
    result = run(tmp_path, "metric=[polite]", "objective=eval_loss", "model=local", "model.path=x")
    assert (result.code, "Traceback" in result.err) == (2, False)


def lines_of(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("plugin ")]


FILE = """
from framework import metric

@metric
def polite(answer):
    "1 where the answer says please."
    return float("please" in answer)
"""


def test_a_single_file_is_a_plugin_for_this_run_only(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    assert program("plugins=[./mine.py]", "metric=[polite]", "stages=[plan]", "run_dir=run", cwd=tmp_path).code == 0
    assert "unknown metric 'polite'" in program("metric=[polite]", "stages=[plan]", cwd=tmp_path).err
    listed = program("plugins", "metric", "plugins=[./mine.py]", cwd=tmp_path)
    assert (listed.code, "polite" in listed.out) == (0, True)


def test_the_folder_of_a_run_brings_its_file_plugins(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    words = ["plugins=[./mine.py]", "metric=[polite]", "stages=[plan]", "run_dir=run"]
    assert program(*words, cwd=tmp_path).code == 0
    assert program("run_dir=run", cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("mine.py", "1 / 0", "plugins=./mine.py: ZeroDivisionError: division by zero ("),
        ("mine.py", "def (", "plugins=./mine.py: SyntaxError: invalid syntax ("),
        ("mine.py", "x = 1", "plugins=./mine.py: nothing in it is a plugin: mark a hook with @hookimpl"),
        ("mine.py", "from framework import hookimpl\n@hookimpl\ndef framework_metrix(): ...", "unknown hook"),
        ("evals.py", FILE, "'evals' is no free name for a module: rename the file, for example my_evals.py"),
        ("json.py", FILE, "'json' is no free name for a module"),
        ("my-metric.py", FILE, "'my-metric' is no free name for a module"),
        ("mine.txt", FILE, "there is no such Python file"),
    ],
)
def test_a_file_that_is_no_plugin_is_told_with_the_reason(tmp_path: Path, name: str, source: str, text: str) -> None:
    folder = tmp_path / "files"  # outside the working folder, which Python searches first
    folder.mkdir()
    (folder / name).write_text(source, encoding="utf-8")
    (tmp_path / "work").mkdir()
    result = program(f"plugins=[{folder / name}]", "stages=[plan]", cwd=tmp_path / "work")
    (line,) = result.err.splitlines()
    assert text.replace("./mine.py", str(folder / "mine.py")) in line
    assert result.code == 2


def test_files_in_a_config_that_were_not_loaded_are_refused(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    yaml = "# @package _global_\nplugins: [./mine.py]\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(yaml, encoding="utf-8")
    result = program("+experiment=mine", "stages=[plan]", cwd=tmp_path)
    assert result.err.splitlines()[-1] == (
        "conf/experiment/mine.yaml:2: plugins=[./mine.py] is read before any file: give it on the command line"
    )
    assert result.code == 2


MERGED = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.schema import ExporterConfig, TrainerConfig

@dataclass
class MergedConfig(ExporterConfig):
    "Needs an adapter to merge."

@dataclass
class PackerConfig(TrainerConfig):
    "A trainer that can pack."
    packing: bool = False
    "Several rows in one sequence."

@hookimpl
def framework_exporters():
    yield Component("merged", MergedConfig, "acme:Missing")

@hookimpl
def framework_trainers():
    yield Component("packer", PackerConfig, "acme:Missing")

@hookimpl
def framework_check_plan(plan):
    if "merged" in plan.exporter and plan.adapter.component.name == "full":
        yield "exporter=[merged] merges an adapter and adapter=full trains none: set adapter=lora"
"""


def test_an_exporter_refuses_a_plan_that_gives_it_nothing_to_merge(tmp_path: Path) -> None:
    install(tmp_path, "acme", MERGED)
    result = run(tmp_path, "exporter=[merged]", "adapter=full", "stages=[plan]", "run_dir=run")
    assert result.err.splitlines() == [
        "exporter=[merged] merges an adapter and adapter=full trains none: set adapter=lora "
        "(exporter: exporter=[merged]; adapter: adapter=full)"
    ]
    assert result.code == 2
    assert run(tmp_path, "exporter=[merged]", "stages=[plan]", "run_dir=run").code == 0


def test_a_backend_that_cannot_pack_has_no_such_setting(tmp_path: Path) -> None:
    install(tmp_path, "acme", MERGED)
    result = run(tmp_path, "trainer.packing=true", "stages=[plan]")
    assert result.err.startswith("trainer.packing=true: unknown key 'trainer.packing'. Valid in trainer=hf: ")
    assert result.code == 2
    assert run(tmp_path, "trainer=packer", "trainer.packing=true", "stages=[plan]", "run_dir=run").code == 0
