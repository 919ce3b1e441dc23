"""The command line, run as a user does: exit codes, what is where, and what is never imported."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from framework import FrameworkError, __version__, testing
from framework.api.text.overrides import override_key
from framework.cli.arguments import complete, is_command
from framework.cli.main import main
from framework.rundir.folder import save_overrides
from tests.support.forked_program import MODULE, Result, echo, execute, forked, forks, launch
from tests.support.program import environment, typed
from tests.support.project import project


def assert_mistake(result: Result, folder: Path, text: str) -> None:
    """Check what holds for every mistake of a user: one or two lines that say it, and nothing on disk."""
    assert text in result.err
    assert len(result.err.splitlines()) <= 2
    assert "Traceback" not in result.err
    assert result.code == 2
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("trainer.lerning_rate=1", "unknown key 'trainer.lerning_rate'. Did you mean 'trainer.learning_rate'?"),
        ("plugns", "unknown command 'plugns'. Did you mean 'plugins'?"),
        ("trainer.max_steps=0", "trainer.max_steps=0 must be a whole number above 0, up to 1000000000, or null"),
        ("--fast", "unknown option '--fast'."),
        ("--cfg=jobs", "invalid choice: 'jobs' (choose from "),
        ("--config-dir=nowhere", "--config-dir=nowhere: there is no such folder"),
        ("plugins=[./mine.py]", "plugins=./mine.py: there is no such Python file"),
        ("plugins=./mine.py", "plugins is a list of files: plugins=[./mine.py]"),
    ],
)
def test_a_mistake_in_the_words_is_reported_before_anything_is_done(tmp_path: Path, word: str, text: str) -> None:
    result = project(tmp_path).run(word)
    assert_mistake(result, tmp_path, text)
    assert result.out == ""


def test_an_option_that_a_file_beside_it_defines_is_found_there(tmp_path: Path) -> None:
    source = "from framework import metric\n\n\n@metric\ndef signoff(answer):\n    return 1.0\n"
    there = project(tmp_path, {"polite.py": source, "other.py": "x = 1\n"})
    result = there.run("metric=[signoff]", "stages=[plan]")
    assert result.err.endswith(" polite.py has one: add plugins=[./polite.py]\n")
    assert "polite.py" not in there.run("metric=[signof]", "stages=[plan]").err


LONG = "x" * 300


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([f"run_dir={LONG}"], f"{LONG[:60]}…: a name of a file has at most 255 bytes"),
        (["model=local", f"model.path={'x' * 5_000}"], "xxx…: a name of a file has at most 255 bytes"),
        (["-m", f"hydra.sweep.dir={LONG}", "seed=1,2"], "xxx…: a name of a file has at most 255 bytes"),
        ([f"model.chat_template={LONG}"], "xxx…: a name of a file has at most 255 bytes"),
        (["runs", LONG], "xxx…: a name of a file has at most 255 bytes"),
        (
            ["trainer.l\u0435arning_rate=1e-3"],
            "It contains the character '\u0435' U+0435 (cyrillic small letter ie): type",
        ),
        (["trainer.max\u200b_steps=3"], "It contains the character U+200B (zero width space): type the name again"),
        (["trainer.max_steps\uff1d3"], "It contains the character '\uff1d' U+FF1D (fullwidth equals sign): type"),
        (["adapter=l\u043era"], "It contains the character '\u043e' U+043E (cyrillic small letter o): type"),
        (["--package=evil"], "--package=evil is not used here"),
        (["adapter.r", "=", "8"], "cannot read 'adapter.r': an override is KEY=VALUE, without spaces around ="),
        (["adapter.r=", "8"], "cannot read '8': an override is KEY=VALUE, without spaces around ="),
        (["adapter.r = 8"], "cannot read 'adapter.r = 8': write adapter.r=8"),
        (["--data=local_file"], "'--data=local_file': a setting has no dashes: data=local_file"),
        (["--adapter.r", "8"], "'--adapter.r': a setting has no dashes: adapter.r=VALUE"),
        (["--dta=x"], "unknown option '--dta=x'"),
        (["trainer.max_steps=10000000000000"], "must be a whole number above 0, up to 1000000000, or null"),
        (["max_new_tokens=99999999999"], "max_new_tokens=99999999999: unknown key 'max_new_tokens'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, words: list[str], text: str) -> None:
    extra = [] if words[0] == "runs" else ["stages=[plan]"]
    assert_mistake(project(tmp_path).run(*words, *extra), tmp_path, text)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"FRAMEWORK_CACHE": "/x/\udcff"}, "the cache folder '/x/\\udcff' is not UTF-8 text: set FRAMEWORK_CACHE"),
        ({"COLUMNS": "0"}, ""),
    ],
)
def test_variables_that_make_no_sense_are_reported_or_left_out(
    tmp_path: Path, variables: dict[str, str], text: str
) -> None:
    every = {**environment(tmp_path), **variables}
    result = forked(forks(), ["-m", "framework", "stages=[plan]"], tmp_path, every)
    assert (result.code, text in result.err) == (2 if text else 0, True)
    assert text or "quickstart" in result.out


def test_a_working_folder_that_was_removed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["bash", "-c", f"cd gone && rmdir ../gone && {sys.executable} -m framework runs"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "the working folder no longer exists: change to another folder, and start again\n"
    )  # fmt: skip


def test_the_users_conf_folder_adds_options_and_that_is_said(tmp_path: Path) -> None:
    for name in ("conf/experiment", "conf/trainer", "more/experiment"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "conf/trainer/patient.yaml").write_text("defaults: [hf]\nnum_train_epochs: 9\n", encoding="utf-8")
    mine = "# @package _global_\ndefaults:\n  - quickstart\n  - override /trainer: patient\nname: mine\n"
    (tmp_path / "conf/experiment/mine.yaml").write_text(mine, encoding="utf-8")
    (tmp_path / "more/experiment/other.yaml").write_text("# @package _global_\nseed: 7\n", encoding="utf-8")
    result = project(tmp_path).run("--config-dir", "more", "+experiment=[mine,other]", "stages=[plan]", "run_dir=run")
    assert result.err.splitlines() == [
        "options of ./conf: +experiment=mine, trainer=patient",
        "options of ./more: +experiment=other",
    ]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text(encoding="utf-8"))
    assert (plan["name"], plan["seed"], plan["data"]["validation_split"]) == ("mine", 7, 0.04)


@pytest.mark.parametrize(
    ("file", "other"),
    [
        ("experiment/quickstart.yaml", "/conf/experiment/quickstart.yaml has the same name"),
        ("config.yaml", "/conf/config.yaml has the same name"),
        ("adapter/lora.yaml", "the adapter 'lora' of framework-finetune "),
    ],
)
def test_a_file_that_would_never_be_read_is_refused(tmp_path: Path, file: str, other: str) -> None:
    place = tmp_path / "conf" / file
    place.parent.mkdir(parents=True)
    place.write_text("seed: 1\n", encoding="utf-8")
    result = project(tmp_path).run("stages=[plan]")
    (line,) = result.err.splitlines()
    assert line.startswith(f"{place}: ")
    assert other in line
    assert line.endswith("is found first: rename the file")
    assert result.code == 2


def test_overrides_are_saved_as_they_were_typed(tmp_path: Path) -> None:
    assert project(tmp_path).run("stages=[plan]", "trainer.warmup_steps=${seed}", "run_dir=run").code == 0
    assert "trainer.warmup_steps=${seed}" in json.loads((tmp_path / "run" / "overrides.json").read_text("utf-8"))


ROW = '{"instruction": "say", "output": "it"}\n'
QUICK = ("logger=[]", "evaluator=[]", "exporter=[]", "audit=[]")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no data file "),
        (ROW + "\n{'a': 1}\n", "rows.jsonl:3: not valid JSON: "),
        (ROW + "[1]\n", "rows.jsonl:2: a row is a JSON object with named fields, and this one is a list"),
    ],
    ids=["missing", "no JSON", "no object"],
)
def test_a_mistake_in_the_data_is_reported_with_its_place_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, content: str | None, text: str
) -> None:
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    result = project(tmp_path).echo("data=local_file", f"data.path={file}")
    assert_mistake(result, tmp_path, text)
    assert result.out == ""  # nothing is planned, and no library is loaded


@pytest.mark.parametrize("word", ["stages=[plan]", "stages=[plan,data]"])
def test_a_folder_below_a_file_is_refused_before_the_plan_is_shown(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, word: str
) -> None:
    file = tmp_path_factory.mktemp("place") / "file"
    file.touch()
    result = project(tmp_path).echo(f"run_dir={file}/run", word)
    assert_mistake(result, tmp_path, f"the run cannot write to {file}/run: Not a directory. Set run_dir=FOLDER")
    assert result.out == ""


WATCH = """
import sys
from pathlib import Path
from tests.support import forks
from tests.support.project import project
forks.compose_once()
for line in sys.argv[1:]:
    code = project(Path.cwd()).run(*line.split()).code
    heavy = {"torch", "transformers", "datasets", "numpy", "pandas", "wandb", "peft", "trl"} & sys.modules.keys()
    print(f"{line}: {code}", *sorted(heavy))
"""


def test_what_trains_nothing_imports_no_heavy_library(tmp_path: Path) -> None:
    ends = {
        "--help": 0, "--cfg job": 0, "plugins --json": 0, "chat --help": 0, "reference out": 0, "stages=[plan]": 0,
        "trainer.lerning_rate=1": 2,
    }  # fmt: skip
    done = execute((MODULE[0], "-c", WATCH), *ends, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[3])})
    assert (done.out.splitlines(), done.err) == ([f"{line}: {code}" for line, code in ends.items()], "")


def test_the_help_lists_groups_and_options_and_names_what_prints_the_settings(tmp_path: Path) -> None:
    text = project(tmp_path).run("--help").out
    assert "adapter: dora, full, lora, rslora" in text
    assert "experiment: decide, gemma4_26b_a4b_24gb, gemma4_e2b_12gb, gpt_oss_20b_16gb, gpu_12gb" in text
    assert "--cfg job prints all settings with their values" in text
    assert "learning_rate:" not in text


def test_a_run_ends_with_exit_code_0_and_goes_on_from_its_folder(data_file: Path, tmp_path: Path) -> None:
    first = echo("data=local_file", f"data.path={data_file}", "run_dir=run", "adapter.r=3", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    plan = json.loads((tmp_path / "run" / "plan.json").read_text(encoding="utf-8"))
    assert (plan["adapter"]["r"], plan["data"]["path"]) == (3, str(data_file))
    (tmp_path / "run" / "evaluate.json").unlink()
    second = echo("run_dir=run", "stages=[evaluate,report]", cwd=tmp_path)
    assert (second.code, second.err) == (0, "")
    assert (tmp_path / "run" / "evaluate.json").exists()


def test_a_multirun_shows_its_points_and_the_best(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "trainer.learning_rate=1e-4,5e-4", *QUICK]
    result = project(tmp_path).echo("-m", *words)
    assert (result.code, result.err) == (0, "")
    rows = [line.split("│")[1:3] for line in result.out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["0", "learning_rate=0.0001"],
        ["1", "learning_rate=0.0005"],
    ]
    assert "\nbest: trial " in result.out


def test_a_multirun_with_a_failing_point_shows_the_others_and_fails(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "trainer.max_seq_length=1,64", *QUICK]
    result = project(tmp_path).echo("-m", *words)
    assert result.code != 0
    assert "trainer.max_seq_length=1 leaves no token to learn" in result.err
    assert "Traceback" not in result.err
    rows = [[cell.strip() for cell in line.split("│")] for line in result.out.splitlines() if line.startswith("│")]
    assert rows[0][1:4] == ["0", "max_seq_length=1", "failed"]
    assert rows[1][1:3] == ["1", "max_seq_length=64"]
    assert "\nbest: trial 1 (trainer.max_seq_length=64)\n" in result.out


def test_a_mistake_in_one_point_of_a_sweep_is_reported_before_anything_is_made(tmp_path: Path) -> None:
    words = ("trainer.learning_rate=1e-4,-1", "adapter=lora,full", "quantization=nf4")
    result = project(tmp_path).run("-m", *words)
    assert sorted(result.err.splitlines()) == [
        "adapter=full trains all weights and quantization=nf4 freezes them: set quantization=none, or adapter=lora",
        "trainer.learning_rate=-1 must be a number above 0, up to 1",
    ]
    assert result.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fail_on", "prompts", "code", "said"),
    [
        ("worse", 7, 3, "verdict.fail_on=[worse]: Worse: "),
        ("undecided", 7, 0, ""),
        ("undecided", 2, 3, "verdict.fail_on=[undecided]: "),
        ("worse", 0, 3, "verdict.fail_on=[worse]: not measured, so the verdict cannot say it"),
    ],
)
def test_a_verdict_that_the_config_names_ends_the_run_with_a_code_of_its_own(
    data_file: Path, tmp_path: Path, fail_on: str, prompts: int, code: int, said: str
) -> None:
    """The echo model repeats what it was asked, so that training away from it is a loss."""
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"say {number}", "reference": f"say {number}"} for number in range(prompts)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["data=local_file", f"data.path={data_file}", "run_dir=run", "logger=[]", "audit=[]"]
    words += ["evaluator=[prompts]", f"evaluator.prompts.file={file}"] if prompts else ["stages=[data,train,report]"]
    words += [f"verdict.fail_on=[{fail_on}]"]
    result = project(tmp_path).echo(*words)
    assert (result.code, result.err[: len(said)]) == (code, said)
    assert (tmp_path / "run" / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["evaluator=[prompts]", "verdict.fail_on=[forgot]"], "would never fail: no evaluator of this run measures it"),
        (["evaluator=[]", "verdict.fail_on=[worse,copied]"], "fail_on=[copied] would never fail: no evaluator of this"),
        (["stages=[data,train]", "verdict.fail_on=[worse]"], "needs the verdict, which the report stage makes"),
        (["evaluator=[prompts,forgetting]", "verdict.fail_on=[forgot]"], ""),
    ],
)
def test_a_gate_that_cannot_close_is_refused(words: list[str], refused: str, data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", *words]
    if not refused:
        testing.plan(words, run_dir=tmp_path / "run")
        return
    with pytest.raises(FrameworkError, match=re.escape(refused)):
        testing.plan(words, run_dir=tmp_path / "run")


def test_a_failure_of_the_program_is_a_traceback_and_exit_code_1(data_file: Path, tmp_path: Path) -> None:
    project(tmp_path).echo("data=local_file", f"data.path={data_file}", "run_dir=run", "logger=[]")
    (tmp_path / "run" / "checkpoint" / "echo.json").write_text("no JSON", encoding="utf-8")  # a ValueError
    (tmp_path / "run" / "train.json").unlink()  # which has the hash of that file
    result = echo("run_dir=run", "stages=[evaluate]", cwd=tmp_path)
    assert result.code == 1
    assert "Traceback" in result.err
    assert "JSONDecodeError" in result.err


def test_a_bug_in_a_command_is_a_traceback_and_no_mistake_of_the_user(tmp_path: Path) -> None:
    source = """
        from dataclasses import dataclass
        from framework import Component, hookimpl
        from framework.api.schema import CommandConfig

        @dataclass
        class BreakConfig(CommandConfig):
            "Break."

        class Break:
            def __init__(self, config): ...
            def main(self, arguments): raise ValueError("broken")

        @hookimpl
        def framework_components(): yield Component("break", BreakConfig, "breaking:Break")
    """
    (tmp_path / "breaking.py").write_text(dedent(source), encoding="utf-8")
    result = project(tmp_path).run("break", "plugins=[breaking.py]")
    assert result.code == 1
    assert result.err.splitlines()[-1] == "ValueError: broken"


@pytest.mark.parametrize("word", ["plugins", "chat", "my-command", "x2"])
def test_a_plain_name_is_a_command(word: str) -> None:
    assert is_command(word)


@pytest.mark.parametrize("word", ["a=b", "+a=b", "~a", "--help", "-m", "a.b", "", "2x", "a/b=c"])
def test_what_looks_like_an_override_or_an_option_is_none(word: str) -> None:
    assert not is_command(word)


@pytest.mark.parametrize(
    ("word", "name"), [("a=b", "a"), ("+a=b=c", "a"), ("++a.b=1", "a.b"), ("~a", "a"), ("a=", "a")]
)
def test_the_key_of_an_override_stands_before_the_first_equals_sign(word: str, name: str) -> None:
    assert override_key(word) == name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["+experiment=quickstart"]),
        (["seed=1"], ["+experiment=quickstart", "seed=1"]),
        (["--cfg", "job"], ["+experiment=quickstart", "--cfg", "job"]),
        (["-m", "seed=1,2"], ["-m", "+experiment=quickstart", "seed=1,2"]),
        (["--config-dir=x", "~format", "seed=1"], ["--config-dir=x", "+experiment=quickstart", "~format", "seed=1"]),
        (["+experiment=llama8b_lora"], ["+experiment=llama8b_lora"]),
        (["model=llama8b"], ["model=llama8b"]),
        (["data=hub"], ["data=hub"]),
        (["run_dir=new"], ["+experiment=quickstart", "run_dir=new"]),
    ],
)
def test_the_quickstart_runs_where_neither_experiment_nor_model_nor_data_are_chosen(
    words: list[str], expected: list[str]
) -> None:
    assert complete(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stages=[report]"], ["+experiment=mine", "adapter.r=4", "stages=[report]"]),
        (["adapter.r=8", "stages=[plan]"], ["+experiment=mine", "adapter.r=8", "stages=[plan]"]),
        (["+experiment=other"], ["adapter.r=4", "+experiment=other"]),
    ],
)
def test_the_folder_of_a_run_brings_its_overrides_and_explicit_words_win(
    tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    save_overrides(tmp_path, ["+experiment=mine", "adapter.r=4", f"run_dir={tmp_path}"])
    place = f"run_dir={tmp_path}"
    completed = complete([place, *words])
    assert [word for word in completed if word != place] == expected
    assert completed.count(place) == 1


@pytest.mark.parametrize(("words", "left"), [("exporter=[adapter]", True), ("exporter=[adapter,gguf]", False)])
def test_an_option_that_is_not_chosen_again_takes_its_settings_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, *, left: bool
) -> None:
    save_overrides(tmp_path, ["+experiment=mine", "exporter.gguf.quantizations=[q4_0]", "exporter.adapter.folder=x"])
    completed = complete([f"run_dir={tmp_path}", words])
    assert ("exporter.gguf.quantizations=[q4_0]" in completed) is not left
    assert "exporter.adapter.folder=x" in completed
    said = "exporter=[adapter] leaves out of the run's settings: exporter.gguf.quantizations=[q4_0]\n"
    assert capsys.readouterr().err == (said if left else "")


INTERRUPTED = """
from framework import testing
from framework.cli import main
from framework.testing import echo

class Interrupted(testing.EchoModel):
    def train(self, *_):
        raise KeyboardInterrupt

echo.EchoModel = Interrupted
testing.install()
main.main()
"""


def test_an_interrupted_run_says_so_by_its_exit_code(tmp_path: Path, data_file: Path) -> None:
    words = ["model=echo", "trainer=echo", "data=local_file", f"data.path={data_file}", "logger=[]"]
    assert launch((MODULE[0], "-c", INTERRUPTED), *words, cwd=tmp_path).code == 130


def test_the_version_is_the_programs_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["framework", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == __version__


def test_closed_streams_and_ignored_children_of_whoever_starts_the_program_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # as Python has it after `>&-`
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    monkeypatch.setattr("sys.argv", ["framework", "--version"])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)
        for name in ("stdin", "stdout", "stderr"):
            getattr(sys, name).close()
    assert not ended.value.code


def test_a_pipe_that_is_closed_early_is_no_failure_to_be_reported(tmp_path: Path) -> None:
    code = "exit $((PIPESTATUS[0] == 141 || PIPESTATUS[0] == 0 ? 0 : 1))"  # short output fits into the pipe
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m framework plugins --json | head -c 10; {code}"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert (len(done.stdout), done.stderr, done.returncode) == (10, b"", 0)


def test_a_mistake_that_cannot_be_printed_has_its_exit_code(tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "framework", "x"], cwd=tmp_path, stdout=full, stderr=full, check=False
        )
    assert done.returncode == 2


def test_a_pipe_that_rich_finds_closed_gives_the_documented_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> int:
        end = SystemExit(1)
        end.__context__ = BrokenPipeError()  # as rich's Console.on_broken_pipe raises it
        raise end

    monkeypatch.setattr("sys.argv", ["framework", "plugins"])
    monkeypatch.setattr("framework.cli.main.run_command", closed)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 141


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("trainer", "--help"), "'trainer' is not a command but a group. "),
        (("--help", "trainer"), "'trainer' is not a command but a group. "),
        (("plugins=[]", "plugins", "exporter"), "'plugins' comes after an override: put the command first, "),
        (("train",), "'train' is not a command. To train, give settings without a command: "),
        (("plan", "seed=1"), "'plan' is not a command: type `"),
        (("delete",), "'delete' is not a command: type `"),
        (("experiment",), "'experiment' is not a command; choose an experiment with +experiment=NAME. "),
        (("model.path=/x",), "model.path=/x: unknown key 'model.path': model=smollm2_135m does not have it. It"),
    ],
)  # fmt: skip
def test_what_is_meant_is_named(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = project(tmp_path).run(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(told)
    assert len(done.err.splitlines()) == 1
    lists = {"trainer": "plugins trainer", "--help": "plugins trainer", "experiment": "experiments"}.get(words[0])
    listed = "them" if lists == "experiments" else "its options"
    assert lists is None or f"`{typed(tmp_path)} {lists}` lists {listed}" in done.err


def test_a_killed_worker_of_a_sweep_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenExecutor("A worker process managed by the executor was unexpectedly terminated.")

    monkeypatch.setattr("sys.argv", ["framework", "-m", "seed=1,2"])
    monkeypatch.setattr("framework.cli.main.start", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    (told,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, told.startswith("a worker of the sweep was killed, most likely for lack of memory")) == (
        2,
        True,
    )
