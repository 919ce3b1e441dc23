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
    assert any(
        line.split() == ["metric", "polite", "1", "where", "the", "answer", "says", "please.", "acme"]
        for line in lines(result)
    )


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


def test_a_plugin_that_is_switched_off_is_not_even_imported(tmp_path: Path) -> None:
    install(tmp_path, "acme", "1 / 0")
    result = run(tmp_path, "plugins", "metric", FRAMEWORK_DISABLE_PLUGINS=" other , acme ")
    assert (result.code, result.err) == (0, "")


def test_two_plugins_with_one_name_are_both_named_with_the_way_out(tmp_path: Path) -> None:
    install(tmp_path, "acme", METRIC.format(name="exact_match"))
    result = run(tmp_path, "--cfg", "job")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("metric 'exact_match' is registered by two plugins, 'acme' and 'evals'. Switch one off: ")
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
        "trainer.max_steps=0 must be above 0, or null for whole epochs",
        "seed=13 brings bad luck",
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
