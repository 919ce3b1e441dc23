"""`rerun`: the same run again, or a refusal that says what is no longer the same."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api import records
from framework.api.records import Report, TrainResult
from framework.api.run_folder import ENVIRONMENT
from framework.cli.main import run_command
from framework.run import pipeline
from framework.rundir.environment import Commit, Environment
from tests.support.forked_program import Result
from tests.support.project import project

WORDS = ("data=local_file", "data.path=rows.jsonl")
PLUGIN = """
from framework import Component, hookimpl
from framework.testing.echo import EchoModelConfig, EchoTrainerConfig

@hookimpl
def framework_components():
    yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")
    yield Component("echo", EchoTrainerConfig, "framework.testing.echo:EchoBackend")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds a working folder, in which a run of the echo backend has finished, and its copy."""
    folder = tmp_path_factory.mktemp("made")
    work = folder / "work"
    work.mkdir()
    rows = "".join(f'{{"instruction": "say {n}", "output": "it is {n}"}}\n' for n in range(20))
    (work / "rows.jsonl").write_text(rows, encoding="utf-8")
    with contextlib.chdir(work):
        run(work)
    shutil.copytree(work, folder / "kept")
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return that working folder as it was, and be in it."""
    work = made / "work"
    shutil.rmtree(work)
    shutil.copytree(made / "kept", work)
    monkeypatch.chdir(work)
    return work


def run(place: Path, *words: str) -> Path:
    """Run with the echo backend, in the folder `first`, and return that."""
    plan = testing.plan([*WORDS, *words], run_dir=place / "first")
    pipeline.run(plan)
    return plan.run_dir


def make(place: Path, *words: str) -> Path:
    """Return the run, which has taken place already if no overrides are given."""
    if not words:
        return place / "first"
    shutil.rmtree(place / "first")
    return run(place, *words)


def rerun(*words: str | Path) -> Path:
    """Run it again into `second` and return that."""
    run_command("rerun", [*map(str, words), "run_dir=second"])
    return Path("second").absolute()


def edit(run: Path, name: str, **values: Any) -> None:
    """Change values of a saved file, as if the run had been made that way."""
    saved = json.loads((run / name).read_text(encoding="utf-8"))
    for path, value in values.items():
        *groups, key = path.split("__")
        node = saved
        for group in groups:
            node = node[group]
        node[key] = value
    (run / name).write_text(json.dumps(saved), encoding="utf-8")


def report(run: Path) -> Report:
    return records.load(Report, run / "report.json")


def test_the_same_seed_gives_the_same_result(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(place, "seed=7", "trainer.max_steps=5")
    second = rerun(first)
    assert report(second).metrics == report(first).metrics
    assert report(second).train == report(first).train
    for name in ("data.json", "baseline.json", "evaluate.json", "checkpoint/echo.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert capsys.readouterr().out.splitlines()[-1] == "compare: python -m framework diff first second"


def test_words_that_are_given_win_and_the_others_stay(place: Path) -> None:
    first = make(place, "seed=7", "trainer.max_steps=5")
    second = rerun(first, "trainer.max_steps=3")
    plan = json.loads((second / "plan.json").read_text(encoding="utf-8"))
    assert (plan["seed"], plan["trainer"]["max_steps"]) == (7, 3)
    assert records.load(TrainResult, second / "train.json").steps == 3


def test_the_new_run_has_a_folder_of_its_own(place: Path) -> None:
    first = make(place, f"run_dir={place / 'first'}", "name=mine")
    run_command("rerun", [str(first)])
    (folder,) = (place / "outputs" / "mine").iterdir()
    assert (folder / "report.json").exists()
    with pytest.raises(FrameworkError, match=r"first is the run itself: give a new folder, or leave run_dir out$"):
        run_command("rerun", [str(first), "run_dir=first"])


def test_typed_paths_are_those_of_the_users_folder_and_no_run_is_replaced(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(place)
    copies = place / "copies"
    shutil.copytree(first, copies / "first")
    shutil.copy(place / "rows.jsonl", copies / "own rows.jsonl")
    monkeypatch.chdir(copies)
    before = (first / "report.json").read_bytes()
    for folder in ("first", "../first"):
        with pytest.raises(FrameworkError, match=f"^run_dir={copies}/{folder} (is the run itself|holds another run): "):
            run_command("rerun", ["first", f"run_dir={folder}"])
        monkeypatch.chdir(copies)
    run_command("rerun", ["first", "run_dir=new", "data.path='own rows.jsonl'"])
    plan = json.loads((copies / "new" / "plan.json").read_text(encoding="utf-8"))
    assert plan["data"]["path"] == str(copies / "own rows.jsonl")
    assert (first / "report.json").read_bytes() == before


@pytest.mark.parametrize("words", [[], ["adapter.lora_alpha=4"]])
def test_a_config_that_its_words_no_longer_make_is_refused_with_each_key(place: Path, words: list[str]) -> None:
    first = make(place)
    edit(first, "plan.json", adapter__r=99, trainer__gone=None)
    with pytest.raises(FrameworkError) as refused:
        rerun(first, *words)
    head, *lines, last = str(refused.value).splitlines()
    assert head.startswith(f"{first} was made with a different config than its overrides give now")
    assert lines == ["  adapter.r: 99 then, 16 now", "  trainer.gone: null then, (absent) now"]
    assert last == "Give the values to use, for example adapter.r=99, or continue with --anyway"
    assert not (place / "second").exists()


def test_settings_that_one_version_does_not_have_are_not_to_be_given(place: Path) -> None:
    first = make(place)
    saved = json.loads((first / "plan.json").read_text(encoding="utf-8"))
    del saved["verdict"]["fail_on"]
    (first / "plan.json").write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(
        FrameworkError, match=r"\n  verdict.fail_on: \(absent\) then, \[\] now\nContinue with --anyway$"
    ):
        rerun(first)


def test_a_key_that_is_given_need_not_be_the_same_and_with_anyway_no_other(place: Path) -> None:
    first = make(place)
    edit(first, "plan.json", adapter__r=99)
    plan = json.loads((rerun(first, "adapter.r=99", "stages=[data]") / "plan.json").read_text(encoding="utf-8"))
    assert plan["adapter"]["r"] == 99
    shutil.rmtree(place / "second")
    plan = json.loads((rerun(first, "--anyway", "stages=[data]") / "plan.json").read_text(encoding="utf-8"))
    assert plan["adapter"]["r"] == 16


def test_an_option_that_was_another_one_is_refused_too(place: Path) -> None:
    first = make(place)
    edit(first, ENVIRONMENT, options__adapter="dora")
    with pytest.raises(FrameworkError, match=r"\n  adapter: dora then, lora now\n"):
        rerun(first)


def test_other_rows_are_refused_before_anything_is_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(place)
    with (place / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"instruction": "more", "output": "rows"}\n')
    with pytest.raises(
        FrameworkError, match=rf"^the data differ from those of {first}: fingerprint \w+ then, \w+ now\. "
    ):
        rerun(first)
    assert not (place / "second").exists()
    rerun(first, "--anyway", "stages=[data]")
    assert f"the data differ from those of {first}" in capsys.readouterr().err


def test_data_that_are_chosen_anew_may_be_others(place: Path, write_rows: Callable[..., Path]) -> None:
    first = make(place)
    other = write_rows([{"instruction": f"say {number}", "output": "it"} for number in range(9)])
    second = rerun(first, f"data.path={other}", "stages=[data]")
    assert (second / "data.json").read_bytes() != (first / "data.json").read_bytes()


def test_versions_and_commits_that_differ_are_reported_and_do_not_stop_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(place)
    saved = records.load(Environment, first / ENVIRONMENT)
    packages = {**saved.packages, "pluggy": "0.1", "no-such-package": "2.0"}
    old = dataclasses.replace(
        saved,
        packages=packages,
        python="3.1.0",
        plugins={**saved.plugins, "mine": "/gone/mine.py sha256:00"},
        commit=Commit("a" * 40, dirty=True),
        framework_commit=None,
    )
    records.save(old, first / ENVIRONMENT)
    rerun(first, "stages=[data]")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["python:", "pluggy:", "no-such-package:", "plugin", "commit"]
    assert lines[1].startswith("pluggy: 0.1 then, ")
    assert lines[2] == "no-such-package: 2.0 then, (absent) now"
    assert lines[3] == "plugin 'mine': /gone/mine.py sha256:00 then, (absent) now"
    assert lines[4] == "commit of the working folder: aaaaaaaaaaaa with changes then, none now"


def test_changes_that_no_commit_holds_are_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(place)
    saved = records.load(Environment, first / ENVIRONMENT)
    if saved.framework_commit is None:
        pytest.skip("the framework does not run from a repository")
    records.save(
        dataclasses.replace(saved, framework_commit=dataclasses.replace(saved.framework_commit, dirty=True)),
        first / ENVIRONMENT,
    )
    rerun(first, "stages=[data]")
    assert "the framework" in capsys.readouterr().err


def test_it_runs_in_the_folder_where_the_run_was_started(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(place)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    rerun(first, "stages=[data]")  # finds the rows by their relative path
    assert Path.cwd() == place
    assert (elsewhere / "second" / "data.json").exists()


def test_a_folder_that_is_gone_is_reported(place: Path) -> None:
    first = make(place)
    edit(first, ENVIRONMENT, folder="/gone")
    with pytest.raises(
        FrameworkError, match=r"^the run was started in /gone, which does not exist here: put it back, or add --anyway"
    ):
        rerun(first)
    assert (rerun(first, "--anyway", "stages=[data]") / "data.json").exists()


def test_a_run_without_an_environment_is_run_from_here(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(place)
    (first / ENVIRONMENT).unlink()
    rerun(first, "stages=[data]")
    assert "holds no environment.json: it runs from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=1"], "seed=1: there is no such folder"),
        (["first", "second"], "'second' is not an override of the form key=value"),
        (["nowhere"], "nowhere: there is no such folder"),
        (["first", "seed=1", "seed=2"], "seed=1 and seed=2 set the same key: give it once"),
        (["first", "adapter=loro"], "unknown adapter 'loro'. Did you mean 'lora'?"),
        (["first", "trainer.lerning_rate=1"], "Did you mean 'trainer.learning_rate'?"),
    ],
)
def test_wrong_words_are_reported(place: Path, words: list[str], told: str) -> None:
    make(place)
    before = sorted(place.iterdir())
    with pytest.raises(FrameworkError) as refused:
        run_command("rerun", words)
    assert told in str(refused.value)
    assert sorted(place.iterdir()) == before


def run_again(place: Path, run: Path) -> Result:
    return project(place).run("rerun", str(run.relative_to(place)), "run_dir=second")


def test_a_point_of_a_sweep_with_a_plugin_of_one_file_runs_again(place: Path) -> None:
    (place / "echo_plugin.py").write_text(PLUGIN, encoding="utf-8")
    words = ["plugins=[./echo_plugin.py]", "model=echo", "trainer=echo", *WORDS, "evaluator=[]", "exporter=[]"]
    done = project(place).run("-m", *words, "name=mine", "logger=[]", "seed=1,2")
    assert done.code == 0, done.err
    (first,) = place.glob("outputs/mine/sweep_*/1")
    again = run_again(place, first)
    assert again.code == 0, again.err
    assert report(place / "second").metrics == report(first).metrics
    assert json.loads((place / "second" / "plan.json").read_text(encoding="utf-8"))["seed"] == 2
    (place / "echo_plugin.py").write_text(PLUGIN + "# changed\n", encoding="utf-8")
    assert "plugin 'echo_plugin': " in project(place).run("rerun", str(first)).err


def test_a_refusal_is_exit_code_2_and_no_traceback(place: Path) -> None:
    edit(place / "first", "plan.json", seed=99)
    done = project(place).run("rerun", "first", "model=smollm2_135m", "trainer=hf")
    assert (done.code, "Traceback" in done.err) == (2, False)


def test_the_folders_of_config_dir_are_searched_again(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    yaml = "# @package _global_\nseed: 7\n"
    (tmp_path / "mine" / "experiment" / "lucky.yaml").write_text(yaml, encoding="utf-8")
    words = ["--config-dir", "mine", "+experiment=[quickstart,lucky]", "stages=[plan]", "run_dir=first"]
    assert project(tmp_path).run(*words).code == 0
    # A run that only plans writes no environment.json, so the words alone are known and the folder is not.
    assert "unknown experiment 'lucky'" in project(tmp_path).run("rerun", "first", "run_dir=second").err
    (tmp_path / "echo_kit.py").write_text(PLUGIN, encoding="utf-8")
    rows = "".join(f'{{"instruction": "{number}?", "output": "{number}"}}\n' for number in range(12))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    chosen = ["plugins=[echo_kit.py]", "model=echo", "trainer=echo", *WORDS, "evaluator=[]", "exporter=[]"]
    done = project(tmp_path).run("--config-dir", "mine", "+experiment=lucky", *chosen, "run_dir=third")
    assert (done.code, done.err) == (0, "options of ./mine: +experiment=lucky\n")
    again = project(tmp_path).run("rerun", "third", "run_dir=fourth")
    assert again.code == 0, again.err
    assert json.loads((tmp_path / "fourth" / "plan.json").read_text("utf-8"))["seed"] == 7
    (tmp_path / "mine").rename(tmp_path / "moved")
    refused = project(tmp_path).run("rerun", "third", "run_dir=fifth")
    told = f"the run took options from --config-dir={tmp_path / 'mine'}, which does not exist here"
    assert (refused.code, refused.err) == (2, f"{told}: put it back, or add --anyway to continue without it\n")
    assert not (tmp_path / "fifth").exists()


def test_anyway_goes_on_without_a_config_folder_that_is_gone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(place)
    edit(first, ENVIRONMENT, config_dirs=["/gone/conf"])
    with pytest.raises(
        FrameworkError, match=r"^the run took options from --config-dir=/gone/conf, which does not exist here: "
    ):
        rerun(first)
    assert not (place / "second").exists()
    rerun(first, "--anyway", "stages=[data]")
    assert "--config-dir=/gone/conf, which does not exist here: continuing without it" in capsys.readouterr().err
