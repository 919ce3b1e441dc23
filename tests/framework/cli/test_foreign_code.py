"""A config from somebody else runs no code: not by Hydra, not by logging, not by variables of the environment."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.types import RunMode

from framework import FrameworkError
from framework.api.component import GROUPS
from framework.api.fields import fields
from framework.api.registry import plugins
from framework.api.schema import RunConfig
from framework.cli.arguments import complete_overrides
from framework.plan.load import load_hydra, load_plan, saved_plan
from framework.rundir.folder import WritableRunFolder
from framework.rundir.read import read_run
from framework.sweep.check import check_sweep
from tests.support.project import project

HEAD = "# @package _global_\nhydra:\n  "
TARGET = "callbacks:\n    evil:\n      _target_: pathlib.Path.touch\n"
LOGGING = "job_logging:\n    version: 1\n    handlers:\n      evil:\n        "
VARIABLE = "job:\n    env_set: {PYTHONPATH: here}\n"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the place of an experiment in the user's ./conf."""
    place = tmp_path / "conf" / "experiment" / "evil.yaml"
    place.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return place


@pytest.mark.parametrize(
    ("settings", "line", "text"),
    [
        ("launcher:\n    _target_: os.system\n", 4, "hydra.launcher._target_=os.system names code"),
        ("callbacks:\n    a: [{b: {_target_: joblib.load}}]\n", 4, "hydra.callbacks.a[0].b._target_=joblib.load names"),
        ("callbacks:\n    x: {_target_: framework.hooks.local_file.load_file}\n", 4, "load_file names code"),
        ("callbacks:\n    x: {_target_: '${oc.env:HOME}'}\n", 4, "_target_=${oc.env:HOME} names code"),
        ("callbacks:\n    x: '${oc.create:{_target_: os.getcwd}}'\n", 4, "_target_: os.getcwd}} names code"),
        ("callbacks: '${hydra.job.env_set}'\n", 3, "hydra.callbacks=${hydra.job.env_set}: write the settings"),
        (f"{LOGGING}(): os.getcwd\n", 7, "hydra.job_logging.handlers.evil.()=os.getcwd names code"),
        (f"{LOGGING}class: logging.handlers.SMTPHandler\n", 7, "class=logging.handlers.SMTPHandler names code"),
        (f"{LOGGING}filename: conf/x\n", 7, "hydra.job_logging.handlers.evil.filename=conf/x names code, or a file"),
        (f"{LOGGING}stream: ext://antigravity\n", 7, "ext://antigravity names code"),
        (f"{LOGGING}stream: '${{hydra.job.name}}://antigravity'\n", 7, "${hydra.job.name}://antigravity names code"),
        ("job:\n    name: ../../x\n", 4, "hydra.job.name=../../x: files and folders are named after it"),
        (VARIABLE, 4, "hydra.job.env_set: a config cannot set environment variables"),
        ("run:\n    dir: elsewhere\n", 4, "hydra.run.dir=elsewhere: the folder of a run is set with run_dir=FOLDER"),
        ("sweep:\n    subdir: ../elsewhere\n", 4, "hydra.sweep.subdir=../elsewhere: files and folders are"),
        ("mode: MULTIRUN\n", 3, "hydra.mode=MULTIRUN: start a sweep with -m on the command line"),
    ],
)  # fmt: skip
def test_a_file_that_names_code_is_refused_with_its_line(evil: Path, settings: str, line: int, text: str) -> None:
    evil.write_text(HEAD + settings, encoding="utf-8")
    with pytest.raises(FrameworkError) as caught:
        load_hydra(["+experiment=[quickstart,evil]"], RunMode.RUN)
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"conf/experiment/evil.yaml:{line}: ")
    assert text in told


@pytest.mark.parametrize(
    "words",
    [
        ("hydra/job_logging=default",),
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=s"),
        ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=9"),
        ("hydra/sweeper=optuna5", "hydra.sweeper.n_trials=4"),
        ("hydra.verbose=true", "hydra.callbacks.sweep_folder.resume=true"),
    ],
)
def test_what_an_installed_package_names_itself_is_taken(words: tuple[str, ...]) -> None:
    assert load_hydra(words, RunMode.MULTIRUN).hydra.callbacks.sweep_folder._target_ == "framework.sweep.SweepFolder"


@pytest.mark.parametrize(
    ("words", "settings", "text"),
    [
        (["+experiment=[quickstart,evil]"], TARGET, "evil.yaml:5: hydra.callbacks.evil._target_=pathlib.Path.touch"),
        (["-m", "+experiment=quickstart,evil"], VARIABLE, "evil.yaml:4: hydra.job.env_set: a config cannot set"),
        (
            ["-m", "+experiment=[quickstart,evil]", "seed=1,2"],
            "sweeper:\n    params: {hydra.job.env_set.PYTHONPATH: here}\n",
            "hydra.sweeper.params: hydra.job.env_set.PYTHONPATH=here applies to the whole sweep",
        ),
        (["+hydra.callbacks.x._target_=os.getcwd"], "", "hydra.callbacks.x._target_=os.getcwd names code"),
        (["-m", "hydra.launcher._target_=os.getcwd"], "", "hydra.launcher._target_=os.getcwd names code"),
        (["--config-name", "evil", "seed=1"], "", "evil: --config-path and --config-name are not used here"),
    ],
)  # fmt: skip
def test_the_program_refuses_it_before_anything_is_made(evil: Path, words: list[str], settings: str, text: str) -> None:
    if settings:
        evil.write_text(HEAD + settings, encoding="utf-8")
    folder = evil.parents[2]
    result = project(folder).run(*words, "stages=[plan]")
    told = [line for line in result.err.splitlines() if not line.startswith("options of ./conf")]
    assert len(told) == 1, result.err
    assert text in told[0]
    assert (result.code, result.out, [path.name for path in folder.iterdir()]) == (2, "", ["conf"])


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("model.chat_template_kwargs={_target_:a}", "model.chat_template_kwargs._target_=a: a config cannot"),
        ("+trainer._target_=os.getcwd", "unknown key 'trainer._target_'"),
    ],
)
def test_a_setting_of_the_program_names_none_either(word: str, text: str) -> None:
    with pytest.raises(FrameworkError, match=re.escape(text)):
        load_plan([word, "stages=[plan]"])


TOOLS = """
from pathlib import Path
Path("ran").touch()
class Game:
    def reset(self): pass
    def get_reward(self): return 1.0
"""
NAMING = {
    "plugins": "[evil/tools.py]",
    "model.trust_remote_code": "true",
    "method.environment": "evil/tools.py:Game",
    "evaluator.lm_eval.include_path": "evil",
    "evaluator.lm_eval.tasks": "[evil/task.yaml]",
    "exporter.gguf.llama_cpp_dir": "evil",
    "exporter.gguf_adapter.llama_cpp_dir": "evil",
    "launch.rendezvous": "evil:1",
    "launch.ray.address": "evil:1",
    "launch.slurm.more": "[export=PYTHONPATH=evil]",
    "trainer.trl_class": "evil.tools.Trainer",
}
"""The settings that name code, each with a value."""
CHOICES = {
    "method": "grpo", "evaluator": "[lm_eval]", "exporter": "[gguf,gguf_adapter]", "launch": "ddp",
    "reward": "[length]", "trainer": "trl",
}  # fmt: skip


def test_the_settings_that_name_code_are_those_that_are_tried_here() -> None:
    marked = {field.name for field in fields(RunConfig) if field.type.code}
    for group in GROUPS.values():
        for name, component in plugins().components(group.name).items():
            place = f"{group.name}.{name}" if group.several else group.name
            marked |= {f"{place}.{key}" for key in _marked(component.schema)}
    assert marked == {*NAMING}


def _marked(schema: type) -> Iterator[str]:
    for field in fields(schema):
        if field.type.code:
            yield field.name
        if isinstance(field.type.base, type) and dataclasses.is_dataclass(field.type.base):
            yield from (f"{field.name}.{key}" for key in _marked(field.type.base))


@pytest.mark.parametrize("key", NAMING)
def test_a_file_of_the_user_names_no_code(evil: Path, key: str) -> None:
    (evil.parents[2] / "evil" / "conversion").mkdir(parents=True)
    (evil.parents[2] / "evil" / "tools.py").write_text(TOOLS, encoding="utf-8")
    (evil.parents[2] / "evil" / "conversion" / "__init__.py").write_text(TOOLS, encoding="utf-8")
    lists = "".join(f"  - override /{group}: {choice}\n" for group, choice in CHOICES.items())
    nested = ": {".join(key.split(".")) + f": {NAMING[key]}" + "}" * key.count(".")
    evil.write_text(f"# @package _global_\ndefaults:\n{lists}{nested}\n", encoding="utf-8")
    words = ["+experiment=[quickstart,evil]", "stages=[plan]"]
    told = rf"^conf/experiment/evil\.yaml:9: {re.escape(key)}={re.escape(NAMING[key])} runs code, which only"
    with pytest.raises(FrameworkError, match=told):
        load_plan(words)
    assert not (evil.parents[2] / "ran").exists()


def test_what_is_typed_may_name_code_and_so_may_a_run_that_is_repeated(evil: Path) -> None:
    """The run has recorded its words; to open its model, its settings are read."""
    (evil.parents[2] / "tools.py").write_text(TOOLS.replace('Path("ran").touch()\n', ""), encoding="utf-8")
    evil.write_text("# @package _global_\ndefaults:\n  - override /method: grpo\n", encoding="utf-8")
    words = ["+experiment=[quickstart,evil]", "reward=[length]", "method.environment=tools.py:Game", "stages=[plan]"]
    plan = load_plan([*words, "run_dir=r"])
    assert plan.config["method"]["environment"] == "tools.py:Game"
    WritableRunFolder.create(plan)
    assert saved_plan(read_run("r")).config["method"]["environment"] == "tools.py:Game"
    assert load_plan(complete_overrides(["run_dir=r"])).config["method"]["environment"] == "tools.py:Game"


def test_values_to_try_in_a_file_name_no_code(evil: Path) -> None:
    params = "hydra:\n  sweeper:\n    params: {method.environment: 'evil.py:A,evil.py:B'}\n"
    evil.write_text(f"# @package _global_\ndefaults:\n  - override /method: grpo\n{params}", encoding="utf-8")
    words = ["-m", "+experiment=[quickstart,evil]", "reward=[length]"]
    with pytest.raises(FrameworkError, match=r"method\.environment=evil\.py:A runs code, which only the command line"):
        check_sweep(words)
