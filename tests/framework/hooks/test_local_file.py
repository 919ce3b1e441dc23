"""A file that is named on the command line is a plugin."""

import sys
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.hooks.local_file import is_loaded, load_file
from framework.hooks.session import current
from tests.support.project import project

FILE = """
from framework import metric

@metric
def polite(answer):
    "1 if the answer says please."
    return float("please" in answer)
"""


def test_a_single_file_is_a_plugin_for_this_run_only(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    assert project(tmp_path).run("plugins=[./mine.py]", "metric=[polite]", "stages=[plan]", "run_dir=run").code == 0
    assert project(tmp_path).run("run_dir=run").code == 0  # the folder of a run brings its plugins
    assert "unknown metric 'polite'" in project(tmp_path).run("metric=[polite]", "stages=[plan]").err
    listed = project(tmp_path).run("plugins", "metric", "plugins=[./mine.py]")
    assert (listed.code, "polite" in listed.out) == (0, True)


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("mine.py", "1 / 0", "plugins=./mine.py: ZeroDivisionError: division by zero ("),
        ("mine.py", "x = 1", "plugins=./mine.py: the file registers nothing: decorate a hook with @hookimpl"),
        ("mine.py", "import sys; sys.exit(3)", "plugins=./mine.py: SystemExit: 3 ("),
        (
            "mine.py",
            "from framework import hookimpl\n\n@hookimpl\ndef framework_metricz(): ...",
            "plugins=./mine.py: unknown hook 'framework_metricz'. Did you mean 'framework_components', which registers "
            "the options of every group? (./mine.py:3)",
        ),
        (
            "evals.py",
            FILE,
            "'evals' is not available as a module name: rename the file, for example to my_evals.py",
        ),
        ("json.py", FILE, "'json' is not available as a module name"),
        (
            "my-metric.py",
            FILE,
            "'my-metric' is not available as a module name: rename the file, for example to my_metric.py",
        ),
        ("mine.txt", FILE, "there is no such Python file"),
    ],
)
def test_a_file_that_is_no_plugin_is_reported_with_the_reason(
    tmp_path: Path, name: str, source: str, text: str
) -> None:
    folder = tmp_path / "files"  # outside the working folder, which Python searches first
    folder.mkdir()
    (folder / name).write_text(source, encoding="utf-8")
    (tmp_path / "work").mkdir()
    result = project(tmp_path / "work").run(f"plugins=[{folder / name}]", "stages=[plan]")
    (line,) = result.err.splitlines()
    assert text.replace("./mine.py", str(folder / "mine.py")) in line
    assert result.code == 2


def test_files_in_a_config_that_were_not_loaded_are_refused(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    yaml = "# @package _global_\nplugins: [./mine.py]\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(yaml, encoding="utf-8")
    result = project(tmp_path).run("+experiment=mine", "stages=[plan]")
    assert result.err.splitlines()[-1] == (
        "conf/experiment/mine.yaml:2: plugins=[./mine.py] runs code, which only the command line may name: "
        "remove it from the file, and type it"
    )
    assert result.code == 2


@pytest.mark.parametrize("name", ["datasets", "lambda"])
def test_the_name_of_a_module_is_refused_in_the_working_folder_too_where_the_file_itself_is_found_first(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text(FILE, encoding="utf-8")
    result = project(tmp_path).run(f"plugins=[./{name}.py]", "stages=[plan]")
    assert result.err.splitlines() == [
        f"plugins=./{name}.py: '{name}' is not available as a module name: rename the file, for example to my_{name}.py"
    ]
    assert result.code == 2


def test_a_folder_of_the_name_that_nobody_installed_is_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "acme_folder").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "work")
    file = tmp_path / "acme_folder.py"
    file.write_text(FILE.replace("polite", "folder"), encoding="utf-8")
    load_file(current().plugins, str(file))
    assert sys.modules["acme_folder"].__file__ == str(file)


def test_a_file_is_known_by_its_name_as_typed_whatever_the_working_folder_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_moved.py").write_text(FILE.replace("polite", "moved"), encoding="utf-8")
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    load_file(current().plugins, "./acme_moved.py")
    assert is_loaded(current().plugins, "acme_moved.py")
    monkeypatch.chdir(tmp_path / "later")
    assert is_loaded(current().plugins, "./acme_moved.py")
    assert not is_loaded(current().plugins, "./acme_other.py")


def test_a_file_that_is_switched_off_is_not_even_imported(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("1 / 0", encoding="utf-8")
    words = ("plugins=[./mine.py]", "stages=[plan]", "run_dir=run")
    result = project(tmp_path, env={"FRAMEWORK_DISABLE_PLUGINS": "mine"}).run(*words)
    assert (result.code, result.err) == (0, "")


PARTLY = f"""
from framework import Component, hookimpl
{FILE}
@hookimpl
def framework_components():
    yield Component("odd", int, "mine:odd")
"""


def test_a_part_of_a_file_that_is_left_out_is_reported_with_the_way_to_do_without_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PARTLY, encoding="utf-8")
    result = project(tmp_path).run("plugins", "metric", "plugins=[./mine.py]")
    assert result.err.splitlines() == [
        f"plugin 'mine' of {tmp_path}/mine.py: component 'odd' is skipped: its schema int does not subclass the base "
        "of any group. Bases: ModelConfig, QuantizationConfig, AdapterConfig, DataConfig, "
        "FormatConfig, AuditConfig, MethodConfig, LossConfig, TrainerConfig, OptimizerConfig, ScheduleConfig, "
        "SamplerConfig, CallbackConfig, LaunchConfig, MetricConfig, RolloutConfig, RewardConfig, EvaluatorConfig, "
        "ExporterConfig, LoggerConfig, CommandConfig, SpeakerConfig. Leave it out of plugins=[…]"
    ]


def test_a_file_that_takes_the_name_of_an_option_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE.replace("polite", "exact_match"), encoding="utf-8")
    (line,) = project(tmp_path).run("plugins=[./mine.py]", "stages=[plan]").err.splitlines()
    assert line.startswith("metric 'exact_match' is registered by two plugins, 'evals' (framework-finetune ")
    assert line.endswith(f") and 'mine' ({tmp_path}/mine.py). Leave one out of plugins=[…]")


MADE = """
from framework import metric

def make(word):
    @metric
    def polite(answer):
        "1 if the answer has the word."
        return float(word in answer)
    return polite

one, two = make("please"), make("thanks")
"""
MOVED = f"{FILE}\n@metric\ndef other(answer):\n    'Another.'\n    return 0.0\n\npolite = other\ndel other\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            FILE * 2,
            r"two functions have the name 'polite' \(.*acme_twins\.py:4 and .*\.py:11\): rename one of them$",
        ),
        (
            MOVED,
            r"the function 'other' \(.*acme_twins\.py:9\) has a different name in its module: use that name$",
        ),
        (
            MADE,
            r"the function 'polite' \(.*acme_twins\.py:5\) has a different name in its module: use that name; the ",
        ),
    ],
    ids=["two of one name", "renamed", "made"],
)
def test_functions_that_are_not_found_by_their_names_are_refused(tmp_path: Path, source: str, text: str) -> None:
    (tmp_path / "acme_twins.py").write_text(source, encoding="utf-8")
    with pytest.raises(FrameworkError, match=text):
        load_file(current().plugins, str(tmp_path / "acme_twins.py"))


def test_a_second_name_of_a_function_is_no_second_option(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{FILE}\nagain = polite\n", encoding="utf-8")
    result = project(tmp_path).run("plugins=[./mine.py]", "metric=[polite]", "stages=[plan]", "run_dir=run")
    assert (result.code, result.err) == (0, "")


def test_a_list_that_names_no_file_is_reported(tmp_path: Path) -> None:
    result = project(tmp_path).run("plugins=[null]", "stages=[plan]")
    assert result.err.splitlines() == [
        "plugins=[null] names no file: name Python files, plugins=[./mine.py], or give plugins=[] for none"
    ]
    assert result.code == 2
