"""The distributions of contrib/ as their users have them: installed beside the wheel of framework, run from anywhere.

The fresh environments see the libraries of this one, so nothing is downloaded; framework itself is the wheel in them.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import closing
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.contrib.installed import ECHO, Installed

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("framework-plugin-template", "framework-plateau", "framework-textstats", "framework-trackio")
ROWS = [
    {"instruction": "Please describe the weather there.", "output": "It rains. The forecast mentions thunderstorms."},
    {"instruction": "Where do the cats sleep?", "output": "The cats sleep on the mat, in the sun, all day long."},
    {"instruction": "Who are you and why?", "output": "I am a cat."},
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy contrib/, so that builds and tests leave nothing in the tree."""
    folder = tmp_path_factory.mktemp("checkout")
    unwanted = shutil.ignore_patterns("__pycache__", ".*", "build", "dist")
    shutil.copytree(ROOT / "contrib", folder / "contrib", ignore=unwanted)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Installed]:
    """Build the wheel of framework once, and return what makes environments that hold it and more."""
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("framework_finetune-*.whl")

    def make(name: str, *more: Path) -> Installed:
        folder = tmp_path_factory.mktemp(name)
        venv.create(folder / "venv", symlinks=True)
        made = Installed(folder / "venv", folder / "home")
        made.home.mkdir()
        # A line of a .pth file adds a folder but not the .pth files in it: the editable framework stays out of reach.
        parents = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (made.site_packages / "parent.pth").write_text("\n".join(sorted(parents)) + "\n", encoding="utf-8")
        made.pip_install(wheel, *more)
        return made

    return make


@pytest.fixture(scope="module")
def installed(fresh: Callable[..., Installed], checkout: Path) -> Installed:
    """Return an environment with framework and all of contrib/."""
    return fresh("installed", *(checkout / "contrib" / name for name in NAMES))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Return an empty folder to work in."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Return the overrides for rows that are trained on, validated on and asked."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return ["data=local_file", *(f"data.{name}={file}" for name in ("path", "validation_path", "prompts_path"))]


def report(run_dir: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    return loaded


def lix(text: str) -> float:
    """Compute LIX from its definition; as in textstat, a sentence of one or two words is none."""
    words = re.findall(r"[A-Za-z]+", text)
    sentences = [part for part in re.findall(r"[^.!?]+", text) if len(part.split()) > 2]
    return len(words) / len(sentences) + 100 * sum(len(word) > 6 for word in words) / len(words)


def word_limit(text: str, limit: int) -> float:
    words = len(text.split())
    return min(1.0, limit / words)


def mean(values: Iterator[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def test_framework_is_the_wheel_and_so_are_the_plugins(installed: Installed, empty: Path) -> None:
    modules = (
        "framework",
        "framework_plugins.hf",
        "framework_gpu_tests",
        "framework_plugin_template",
        "framework_plateau",
        "framework_textstats",
        "framework_trackio",
    )
    code = f"import {', '.join(modules)}; print(*(m.__file__ for m in ({', '.join(modules)})), sep='\\n')"
    result = installed.execute(installed.python, "-c", code, cwd=empty)
    assert result.code == 0, result.err
    assert [Path(line).parent for line in result.out.splitlines()] == [
        installed.site_packages.joinpath(*m.split(".")) for m in modules
    ]


@pytest.mark.parametrize(("name", "library"), list(zip(NAMES, ("", "", "textstat", "trackio"), strict=True)))
def test_a_distribution_says_what_it_is_and_needs(installed: Installed, name: str, library: str) -> None:
    (folder,) = installed.site_packages.glob(f"{name.replace('-', '_')}-*.dist-info")
    about = message_from_string((folder / "METADATA").read_text(encoding="utf-8"))
    assert (about["Name"], about["License-Expression"], about["Requires-Python"]) == (name, "Apache-2.0", ">=3.11")
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["Version"])
    needs = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [Requirement(line).name for line in needs] == ["framework-finetune", *([library] if library else [])]
    assert list(folder.glob("licenses/LICENSE"))


def test_the_plugins_are_listed_from_an_empty_folder(installed: Installed, empty: Path) -> None:
    metrics = installed.execute("framework", "plugins", "metric", cwd=empty)
    assert metrics.code == 0, metrics.err
    assert {"exact_match", "readability", "word_limit"} <= set(metrics.out.split())
    everything = installed.execute("python", "-m", "framework", "plugins", cwd=empty)
    assert everything.code == 0, everything.err
    assert {"console", "readability", "trackio", "word_limit"} <= set(everything.out.split())
    assert list(empty.iterdir()) == []


def test_the_quickstart_is_planned_from_an_empty_folder(installed: Installed, empty: Path) -> None:
    result = installed.execute("framework", "+experiment=quickstart", "stages=[plan]", "run_dir=run", cwd=empty)
    assert result.code == 0, result.err
    assert "SmolLM2-135M-Instruct" in result.out
    assert not (installed.home / "cache").exists()


def test_a_run_is_measured_and_logged_by_all_three(installed: Installed, empty: Path, data: list[str]) -> None:
    words = [
        *("metric=[exact_match,readability,word_limit]", "metric.word_limit.limit=5", "objective=readability"),
        *("logger=[trackio]", "logger.trackio.project=orders", "logger.trackio.run_name=first", "run_dir=run"),
    ]
    result = installed.echo(*data, *words, cwd=empty)
    assert result.code == 0, result.err
    assert [path.name for path in empty.iterdir()] == ["run"]
    # The echo model gives the question back until it has learned the answer.
    before, after = ([row[key] for row in ROWS] for key in ("instruction", "output"))
    metrics = report(empty / "run")["metrics"]
    for name, score in {"readability": lix, "word_limit": lambda text: word_limit(text, 5)}.items():
        expected = [pytest.approx(mean(map(score, answers))) for answers in (before, after)]
        assert [metrics[name]["before"], metrics[name]["after"]] == expected
    assert metrics["readability"]["before"] != metrics["readability"]["after"]
    assert not metrics["readability"]["higher_is_better"]
    assert metrics["word_limit"]["higher_is_better"]
    assert report(empty / "run")["objective"]["value"] == metrics["readability"]["after"]

    with closing(sqlite3.connect(installed.home / "trackio" / "orders.db")) as database:
        entries = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
        ((config,),) = database.execute("SELECT config FROM configs").fetchall()
    assert {name for name, _, _ in entries} == {"first"}
    values: dict[str, list[tuple[int, Any]]] = {}
    for _, step, text in entries:
        for key, value in json.loads(text).items():
            values.setdefault(key, []).append((step, value))
    assert values["train/loss"] == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert values["before/readability"] == [(0, metrics["readability"]["before"])]
    assert values["after/readability"] == [(3, metrics["readability"]["after"])]
    assert values["exit_code"] == [(3, 0)]
    ((_, table),) = values["answers"]
    assert [(row["before"], row["after"]) for row in table["_value"]] == list(zip(before, after, strict=True))
    assert json.loads(config)["metric"]["word_limit"]["limit"] == 5


def test_the_experiment_runs_by_the_command_in_its_first_comment(
    installed: Installed, checkout: Path, empty: Path, data: list[str]
) -> None:
    (file,) = (checkout / "contrib").glob("*/src/*/conf/experiment/*.yaml")
    package, command, *_ = file.read_text(encoding="utf-8").splitlines()
    assert package == "# @package _global_"
    words = command.removeprefix("# ").replace("FILE.jsonl", data[1].partition("=")[2]).split()
    planned = installed.execute(*words, "stages=[plan]", cwd=empty)
    assert planned.code == 0, planned.err
    assert "SmolLM2-135M-Instruct" in planned.out
    assert "readability" in planned.out
    ran = installed.echo(f"+experiment={file.stem}", *data[1:], "run_dir=run", cwd=empty)
    assert ran.code == 0, ran.err
    assert (report(empty / "run")["name"], report(empty / "run")["objective"]["name"]) == (file.stem, "readability")


def test_an_experiment_of_the_user_s_own_uses_them(installed: Installed, empty: Path, data: list[str]) -> None:
    (empty / "conf" / "experiment").mkdir(parents=True)
    own = "# @package _global_\ndefaults:\n  - override /metric: [one_sentence, readability]\nname: mine\n"
    (empty / "conf" / "experiment" / "mine.yaml").write_text(own, encoding="utf-8")
    words = ["--config-dir", "conf", "+experiment=mine", "model=echo", "trainer=echo", *data, "run_dir=run"]
    result = installed.execute(installed.python, "-c", ECHO, *words, cwd=empty)
    assert result.code == 0, result.err
    assert report(empty / "run")["name"] == "mine"
    assert {"readability", "word_limit"} <= report(empty / "run")["metrics"].keys()


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ("metric.readability.measure=fog", ("metric.readability.measure", "lix", "words_per_sentence")),
        ("metric.word_limit.limit=0", ("metric.word_limit.limit", "above 0")),
    ],
)
def test_a_wrong_value_is_answered_with_the_valid_ones(
    installed: Installed, empty: Path, wrong: str, parts: tuple[str, ...]
) -> None:
    words = ["metric=[readability,word_limit]", wrong]
    result = installed.execute(installed.python, "-m", "framework", *words, cwd=empty)
    assert result.code == 2
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err


@pytest.mark.slow
def test_a_plugin_that_is_switched_off_is_gone(installed: Installed, empty: Path, data: list[str]) -> None:
    words = ["+experiment=plain_answers", *data, "logger=[trackio]", "stages=[plan]", "run_dir=run"]
    off = ["env", "FRAMEWORK_DISABLE_PLUGINS=trackio"]
    with_it = installed.execute("framework", *words, cwd=empty)
    without = installed.execute(*off, "framework", *words, cwd=empty)
    assert (with_it.code, without.code) == (0, 2), with_it.err
    assert "trackio" in without.err
    assert "Traceback" not in without.err


def test_commands_import_neither_library(installed: Installed, empty: Path) -> None:
    code = (
        "import sys; from framework.config.compose import compose; compose(['metric=[readability,word_limit]']); "
        "print({'nltk', 'textstat', 'torch', 'trackio'} & sys.modules.keys())"
    )
    assert installed.execute(installed.python, "-c", code, cwd=empty).out == "set()\n"


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_a_distribution_passes_its_own_tests(installed: Installed, checkout: Path, name: str) -> None:
    result = installed.own_tests(checkout / "contrib" / name)
    assert result.code == 0, result.out + result.err
    assert re.search(r"\d+ passed", result.out)


def test_the_readmes_have_each_setting_with_its_default(installed: Installed, checkout: Path, empty: Path) -> None:
    schemas = {
        "framework-plugin-template": "framework_plugin_template.config:WordLimitConfig",
        "framework-plateau": "framework_plateau.config:PlateauConfig",
        "framework-textstats": "framework_textstats.config:ReadabilityConfig",
        "framework-trackio": "framework_trackio.config:TrackioConfig",
    }
    code = (
        "from pkgutil import resolve_name; from framework.api.fields import fields\n"
        f"for name, schema in {schemas!r}.items():\n"
        "    for f in fields(resolve_name(schema)):\n"
        "        print(name, f.name, getattr(f.default, 'value', f.default), f.doc == '')"
    )
    printed = installed.execute(installed.python, "-c", code, cwd=empty).out.splitlines()
    for name in schemas:
        settings = [line.split()[1:] for line in printed if line.startswith(f"{name} ")]
        readme = (checkout / "contrib" / name / "README.md").read_text(encoding="utf-8")
        _, _, table = readme.partition("| setting | default | meaning |\n")
        lines = table.partition("\n\n")[0].splitlines()[1:]
        rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in lines]
        assert settings
        assert [field for field, _, _ in settings] == [field for field, _ in rows]
        for (field, default, undocumented), (_, written) in zip(settings, rows, strict=True):
            assert undocumented == "False"
            words = {"None": "", "False": "false"}.get(default, default)
            assert written == words or (default == "None" and " " in written), f"{name}: {field}"


@pytest.mark.slow  # one more environment; the template passes its own tests under its own name above
def test_the_template_is_renamed_by_the_commands_in_its_readme(
    fresh: Callable[..., Installed], checkout: Path, empty: Path, data: list[str]
) -> None:
    mine = fresh("mine")
    readme = (checkout / "contrib" / "framework-plugin-template" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)[0]
    renamed = mine.execute("bash", "-euo", "pipefail", "-c", commands, cwd=checkout)
    assert renamed.code == 0, renamed.err
    folder = checkout.parent / "framework-acme"
    files = [path for path in folder.rglob("*") if path.is_file()]
    left = [file for file in files if re.search(r"plugin[-_]template", str(file) + file.read_text(encoding="utf-8"))]
    assert left == []
    assert len(files) == sum(path.is_file() for path in (checkout / "contrib/framework-plugin-template").rglob("*"))
    mine.pip_install(folder)
    assert mine.own_tests(folder).code == 0
    ran = mine.echo(*data, "metric=[one_sentence]", "metric.word_limit.limit=4", "run_dir=run", cwd=empty)
    assert ran.code == 0, ran.err
    expected = mean(word_limit(row["output"], 4) for row in ROWS)
    assert report(empty / "run")["metrics"]["word_limit"]["after"] == pytest.approx(expected)
    listed = mine.execute("framework", "plugins", "metric", cwd=empty)
    assert "acme" in listed.out
