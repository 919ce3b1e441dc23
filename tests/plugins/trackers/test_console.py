"""What a person sees: the plan, the data, progress, answers side by side, the numbers, and what to type next."""

import dataclasses
import io
import json
import math
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from framework import testing
from framework.api.events import (
    ForecastUpdated,
    IssueFound,
    ProgressMade,
    RunFinished,
    RunPlanned,
    StageFinished,
    StageStarted,
    TrainingStep,
)
from framework.api.records import (
    Artifact,
    Aspect,
    EvalResult,
    FitStatus,
    Forecast,
    Measure,
    Progress,
    Sample,
    Step,
    SuggestedChange,
)
from framework.api.schema import Stage
from framework.config.check import check
from framework.config.compose import compose
from framework.hooks.session import current
from framework.run import pipeline
from framework.run.report import make_report
from framework.util.command import this_program
from framework_plugins.trackers.config import ConsoleConfig
from framework_plugins.trackers.console import Console
from framework_plugins.trackers.console_next import next_steps
from tests.support.results import AILING, CLIMBED, EVEN, SPIKE

STEPS = [Step(number, 2, 0.1, 1.5, 2e-4, 1.0, 300, 2.0) for number in (1, 2)]
See = Callable[..., str]


@pytest.fixture
def see(
    rows: list[dict[str, str]],
    write_rows: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> See:
    """Return a function that runs with the console and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    train, prompts = write_rows(rows), write_rows(rows[:7])

    def run(*words: str) -> str:
        files = [f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]
        asked = ["evaluator=[prompts]", "logger=[console]", *words]
        plan = testing.plan(["data=local_file", *files, *asked], run_dir=tmp_path / "run")
        pipeline.run(plan)
        return capsys.readouterr().out

    return run


def cells(text: str) -> list[list[str]]:
    """Return the lines of the tables: of the answers by the columns of its head, of the numbers by wide spaces."""
    start = r"^prompt +before +after *$\n"
    answers = re.search(rf"{start}((?:(?!\n\n|\S+: before and after).)*)", text, re.MULTILINE | re.DOTALL)
    rows = []
    if answers:
        head, *lines = answers.group(0).splitlines()
        middle, last = head.index("before"), head.index("after")
        rows = [[line[:middle].strip(), line[middle:last].strip(), line[last:].strip()] for line in lines]
    numbers = re.search(r"^ +n +before +after.*\n((?:.+\n)*)", text, re.MULTILINE)
    rows += [re.split(r" {2,}", line.strip()) for line in numbers.group(1).splitlines()] if numbers else []
    return [row for row in rows if any(row)]


def test_the_plan_comes_first(see: See) -> None:
    lines = see("name=mine", "adapter.r=4", "adapter.args.init_lora_weights=gaussian").splitlines()
    assert lines[0].strip() == "mine"
    facts = {line.split("  ")[0]: line for line in lines[1:9]}
    assert "echo" in facts["model"]
    assert "lora r=4 lora_alpha=32 target_modules=[all-linear]" in facts["adapter"]
    assert facts["adapter"].rstrip().endswith(" args.init_lora_weights=gaussian")
    assert facts["data"].split()[1:3] == ["local_file", f"path={facts['data'].partition('path=')[2].split()[0]}"]
    assert facts["data"].strip().endswith(", format auto")
    assert "echo: 3 epochs, 2 x 4 rows a step, learning rate 0.0002 linear, warm-up 10" in facts["training"]
    assert "plan → data → baseline → train → evaluate → export → report" in facts["stages"]


def test_a_method_says_what_it_is_and_brings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["method=dpo", "method.ld_alpha=0.5", "trainer.num_train_epochs=2"]
    Console(ConsoleConfig()).log(RunPlanned(testing.plan(words, run_dir=tmp_path)))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "method dpo beta=0.1 loss_type=[sigmoid] ld_alpha=0.5" in lines
    assert "learning rate 2e-05 linear (learning_rate of method=dpo)" in " ".join(lines)


def test_lists_of_the_plan_break_between_words_and_go_below_their_own_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    console = Console(ConsoleConfig())
    names = [f"{name}_proj" for name in ("gate", "up", "down", "q", "k", "v", "o")]
    console.log(RunPlanned(testing.plan([f"adapter.target_modules=[{','.join(names)}]"], run_dir=tmp_path)))
    change = SuggestedChange(["trainer.max_seq_length=512"], 2**30, "the rows that are longer", FitStatus.fits)
    console.log(ForecastUpdated(Forecast(None, "nobody knows", [change, change], [], None, None)))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(len(line) <= 60 for line in lines)
    adapter = " ".join(" ".join(lines).partition("target_modules=[")[2].partition("]")[0].split())
    assert adapter.split(", ") == names
    entry = [f"{'':16}- trainer.max_seq_length=512: saves 1.0 GiB,", f"{'':18}costs the rows that are longer"]
    assert lines[lines.index(entry[0]) :][:4] == entry * 2


def test_only_settings_of_the_data_that_differ_from_the_default_are_shown(see: See) -> None:
    words = ["data.overflow=truncate", "format.columns={output: output}", "format.system_prompt=Be brief"]
    line = " ".join(see(*words).partition("\ndata ")[2].partition("\ntraining ")[0].split())  # it may be wrapped
    assert "overflow=truncate" in line
    assert "validation_split" not in line
    assert "mix" not in line
    assert line.endswith("format auto columns={output:output} system_prompt=Be brief")


def test_the_data_are_counted(see: See) -> None:
    text = see("logger.console.details=true")
    assert "rows     20 to train, 7 held out, 7 prompts" in text
    assert "format   alpaca: 34 rows with the fields instruction, output" in text
    assert "tokens   140, of which 80 (57%) are learned" in text
    assert "device  none" in text


def test_without_details_a_run_has_the_main_facts_only(see: See) -> None:
    text = see()
    assert "rows     20 to train, 7 held out, 7 prompts" in text
    assert "device   none" in text
    assert not re.search("^(format|lengths|limit|made up of|learning rate) ", text, re.MULTILINE)
    assert "other rates" not in text


@pytest.mark.parametrize(("stages", "shown"), [("[data]", 3), ("[plan,data]", 3), ("[data,baseline]", 0)])
def test_rows_are_shown_where_the_data_are_all_that_is_asked_for(see: See, stages: str, shown: int) -> None:
    text = see(f"stages={stages}")
    assert text.count("⟦it is") == shown
    assert ("device   none" in text) == (not shown)
    assert ("run/data.json" in text) == bool(shown)


def test_the_page_is_named_where_there_is_one(see: See) -> None:
    assert "report  run/report.html" in see("stages=[data]", "logger=[console,html]")
    assert "run/report.html" in see("logger=[console,html]")
    assert "run/report.json" in see()


def test_a_run_without_measures_has_no_table_of_them(see: See) -> None:
    none = "evaluator=[]", "data.validation_path=null", "data.validation_split=0", "objective=train_loss"
    shown = see(*none, "trainer.max_steps=2")
    assert re.search("^training +2 steps in ", shown, re.MULTILINE)
    assert "before" not in shown


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line break."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.mark.parametrize(("steps", "lines"), [(3, [1, 2, 3]), (10, list(range(1, 11))), (20, [1, *range(2, 21, 2)])])
def test_without_a_terminal_progress_is_about_ten_lines(see: See, steps: int, lines: list[int]) -> None:
    shown = [line for line in see(f"trainer.max_steps={steps}").splitlines() if line.startswith("  step ")]
    assert [line.split()[1] for line in shown] == [f"{number}/{steps}" for number in lines]
    assert all("loss" in line and "tokens/s" in line and line.endswith("left") for line in shown)


def test_a_progress_line_tells_loss_speed_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    Console(ConsoleConfig()).log(TrainingStep(Step(1, 101, 0.1, 1.5, 2e-4, 1.0, 300, 2.0, eval_loss=1.25)))
    assert capsys.readouterr().out == "  step 1/101  loss 1.500  eval_loss 1.250  150 tokens/s  3:20 left\n"


def test_a_number_of_the_loss_is_not_shown_as_a_share(capsys: pytest.CaptureFixture[str]) -> None:
    Console(ConsoleConfig()).log(TrainingStep(Step(1, 101, 0.1, 1.5, 2e-4, 1.0, 300, 2.0, loss_metrics={"kl": 0.0123})))
    assert "loss 1.500  kl 0.0123  150 tokens/s" in capsys.readouterr().out


def test_of_many_numbers_of_the_loss_a_line_has_those_without_parts(capsys: pytest.CaptureFixture[str]) -> None:
    many = {"reward": 0.5, **{f"rewards/{number}/mean": 1.0 for number in range(9)}}
    Console(ConsoleConfig()).log(TrainingStep(Step(1, 101, 0.1, 1.5, 2e-4, 1.0, 300, 2.0, loss_metrics=many)))
    assert "loss 1.500  reward 0.5  150 tokens/s" in capsys.readouterr().out


def test_a_pipe_has_no_line_for_a_step_that_a_resumed_training_reports_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(ConsoleConfig())
    for step in STEPS:
        console.log(TrainingStep(dataclasses.replace(step, repeated=step.step == 1)))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["2/2"]


def test_a_pipe_has_lines_with_forced_colors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter sets it for what a cell runs
    console = Console(ConsoleConfig())
    console.out = Terminal(file=io.StringIO(), width=100)
    assert console.out.is_terminal
    console.log(TrainingStep(Step(1, 101, 0.1, 1.5, 2e-4, 1.0, 300, 2.0)))
    assert console.bars is None
    console.close()


def test_in_a_terminal_progress_is_a_bar_that_is_gone_when_the_run_is_closed() -> None:
    console = Console(ConsoleConfig())
    console.out = Terminal(record=True, force_terminal=True, width=100, file=io.StringIO())
    for number in (1, 2):
        console.log(TrainingStep(Step(number, 2, 0.1, 1.5, 2e-4, 1.0, 300, 2.0)))
    assert console.bars is not None
    assert [bar.completed for bar in console.bars.display.tasks] == [2]
    console.close()
    assert console.bars is None
    assert "2/2" in console.out.export_text()


def test_answers_and_numbers_stand_side_by_side_before_and_after(see: See) -> None:
    # The audit would find that the prompts are training rows, and the verdict would leave them out.
    text = see("audit=[]", "logger.console.samples=5", "logger.console.details=true")
    assert f"  before: eval_loss {math.log(23 + 1):.4f}, exact_match 0%" in text
    table = cells(text)
    assert table[:5] == [[f"say {number}", f"say {number}", f"it is {number}"] for number in range(5)]
    assert [row[0] for row in table[5:]] == ["exact_match ↑", "eval_loss ↓", "token_f1 ↑", "stopped ↑"]
    assert table[6][3] == "0.0000"
    assert table[5] == ["exact_match ↑", "7", "0%", "100%", "+29 to +100 points", "better"]
    assert "exact_match: the first metric that compares answers with references" in text
    assert "Better: exact_match rose from 0% to 100%." in text
    assert "gained: yes. exact_match rose from 0% to 100% on 7 prompts, by at least " in text
    assert "- exact_match rose from 0% to 100% on 7 prompts, +29 to +100 points at 95% confidence, p = 0.016" in text


def test_prompts_that_training_answers_show_no_gain(see: See) -> None:
    text = see("logger.console.details=true")
    assert "gained: cannot tell. all 7 prompts are answered by training rows" in text
    assert (
        "leaked: 7 of 7 validation rows (100%) and 7 of 7 prompts of the evaluation (100%) ask the same as a training"
        in text
    )
    assert "score 0.00, from -1 to 1: the gain that is certain, less the harm that is certain" in text


def test_as_many_answers_are_shown_as_asked_for(see: See) -> None:
    assert len(cells(see("logger.console.samples=2"))) == 2 + 4


def test_what_could_not_be_measured_is_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(ConsoleConfig())
    result = EvalResult({"score": Measure(0.5)}, [], ["metric 'x' failed\n\x1b[31m", "another"])
    console.log(StageFinished(Stage.baseline, result, 1.0))
    console.log(StageFinished(Stage.evaluate, EvalResult({"score": Measure(0.5)}, [], ["another", "a third"]), 1.0))
    assert [line for line in capsys.readouterr().out.splitlines() if "warning" in line] == [
        "  warning: metric 'x' failed⏎\\x1b[31m",
        "  warning: another",
        "  warning: a third",
    ]


def test_long_answers_are_cut_in_the_middle_and_those_without_an_end_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "system: be brief\nuser: " + "why? " * 400 + "now?"
    long = Sample(asked, "start " + "and on " * 300 + "end", None, stopped=False, scores={})
    plan = testing.plan([], run_dir=Path("run"))
    report = make_report(plan, {}, {}, EVEN, None, None, None, None, current().plugins)
    samples = [(long, dataclasses.replace(long, answer="short", stopped=True))]
    Console(ConsoleConfig()).log(RunFinished(report, samples))
    table = cells(capsys.readouterr().out)
    text = ["".join(f"{cell} " for cell in column) for column in zip(*table, strict=True)]
    assert text[0].startswith("system: be brief user: why? why?")
    assert text[0].rstrip().endswith("why? now?")
    assert " … " in " ".join(text[0].split())
    assert len(text[1]) < 900
    assert "end (did not stop)" in " ".join(text[1].split())
    assert text[2].strip() == "short"


def test_lines_that_all_prompts_share_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [
        (None, Sample(f"Turn it into JSON.\n\n{word}", word, None, stopped=True, scores={})) for word in ("ab", "ac")
    ]
    plan = testing.plan([], run_dir=Path("run"))
    report = make_report(plan, {}, {}, EVEN, None, None, EvalResult({"score": Measure(12.5)}), None, current().plugins)
    Console(ConsoleConfig()).log(RunFinished(report, samples))
    table = cells(capsys.readouterr().out)
    assert table == [["ab", "-", "ab"], ["ac", "-", "ac"], ["score ↓", "-", "12.5000"]]


@pytest.mark.parametrize(("count", "details", "shown"), [(2, False, 2), (13, False, 0), (13, True, 13)])
def test_tasks_of_lm_eval_are_in_the_table_unless_there_are_many(
    capsys: pytest.CaptureFixture[str], count: int, details: object, shown: int
) -> None:
    measures = {f"task{number}.acc": Measure(0.5, aspect=Aspect.general) for number in range(count)}
    result = EvalResult({**measures, "general_accuracy": Measure(0.5, aspect=Aspect.general)})
    plan = testing.plan([], run_dir=Path("run"))
    report = make_report(plan, {}, {}, EVEN, result, None, result, None, current().plugins)
    Console(ConsoleConfig(details=bool(details))).log(RunFinished(report, []))
    table = cells(capsys.readouterr().out)
    assert [row[0].split()[0] for row in table if "acc" in row[0]] == [*measures][:shown]


def test_what_was_made_smaller_for_want_of_memory_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    plan = testing.plan([], run_dir=Path("run"))
    report = make_report(plan, {}, {}, EVEN, None, CLIMBED, None, None, current().plugins)
    Console(ConsoleConfig()).log(RunFinished(report, []))
    words = " ".join(capsys.readouterr().out.split())
    assert "ran out of memory training step 2: 1 row in a pass instead of 2; training step 3: gradient" in words


def test_a_trouble_is_one_line_when_it_happens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for repeated in (False, True):
        Console(ConsoleConfig()).log(IssueFound(SPIKE, repeated))
    assert capsys.readouterr().out == f"  {SPIKE.line}\n"
    assert SPIKE.line.startswith("step 2, spike: the loss jumped to 6.3 from about 0.4. Look at the rows")


def test_a_validation_between_the_lines_is_a_line_too(see: See) -> None:
    words = ["trainer.eval_steps=7", "trainer.eval_losses=[3,1,2]", "trainer.early_stopping_metric=exact_match"]
    lines = [line.split()[1:7] for line in see(*words).splitlines() if line.startswith("  step ")]
    assert ["7/20", "loss", "0.143", "eval_loss", "3.000", "exact_match"] in lines
    assert ["14/20", "loss", "0.071", "eval_loss", "1.000", "exact_match"] in lines


def test_what_went_wrong_and_which_weights_are_kept_is_reported_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    plan = testing.plan([], run_dir=Path("run"))
    console = Console(ConsoleConfig())
    console.log(RunPlanned(plan))
    console.log(RunFinished(make_report(plan, {}, {}, EVEN, None, AILING, None, None, current().plugins), []))
    words = " ".join(capsys.readouterr().out.split())
    assert "ended early step 3, rising_eval_loss: it rose best step 2: eval_loss 0.5000; its weights are kept" in words
    assert "issues spike at step 2, rising_eval_loss at step 3" in words


def test_the_next_commands_stand_on_one_line_each_and_compose(see: See) -> None:
    text = see("run_dir=elsewhere/x", "name=" + "long" * 30, "logger.console.details=true")
    (rates,) = (line for line in text.splitlines() if line.startswith("  other rates"))
    for line, aim in ((rates, "other rates"),):
        start, command = line.split(": ", 1)
        assert start.strip() == aim
        (python, *module), words = shlex.split(command)[:3], shlex.split(command)[3:]
        assert shutil.which(python) == sys.executable
        assert module == ["-m", "framework"]
        assert "run_dir=elsewhere/x" not in words
        values = [word.partition(",")[0] for word in words if word != "-m"]
        check(compose(values))
    assert rates.endswith("trainer.learning_rate=0.0001,0.0002,0.0004")


def test_a_run_is_followed_by_what_can_be_done_with_it(see: See) -> None:
    lines = see("exporter=[]", "logger.console.details=true").splitlines()
    at = lines.index("next")
    assert lines[at + 1] == f"  talk to it: {this_program()} chat run"
    assert [line.split(":")[0].strip() for line in lines[at + 1 : lines.index("", at)]] == ["talk to it", "other rates"]


def test_the_verdict_is_printed_last(see: See) -> None:
    lines = see("audit=[]").splitlines()
    at = lines.index("next")
    summary = lines.index("Better: exact_match rose from 0% to 100%.")
    assert summary > at
    assert all(line.startswith("  ") for line in lines[summary + 1 :])


def test_in_a_narrow_pipe_the_verdict_is_whole(see: See, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    last = see("audit=[]").splitlines()[-1]
    assert last.startswith("  gained: yes.")
    assert len(last) > 60
    assert json.dumps(last.strip(), ensure_ascii=False)[1:-1] in (tmp_path / "run" / "report.json").read_text("utf-8")


def test_after_the_data_that_came_with_a_plugin_ones_own_are_next(tmp_path: Path) -> None:
    words = ["+experiment=quickstart", "adapter.r=4", "evaluator.prompts.count=3"]
    plan = dataclasses.replace(testing.plan(words, run_dir=tmp_path), overrides=tuple(words))
    own = dict(next_steps(plan, []))["your own data"]
    assert own == f"{this_program()} model=echo adapter.r=4 data=local_file data.path=FILE.jsonl"


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (
            ["+experiment=quickstart_dpo", "trainer.max_steps=4"],
            "model=echo method=dpo adapter.start=./outputs/quickstart",
        ),
        (["+experiment=quickstart_grpo", "seed=3"], "model=echo method=grpo 'reward=[both_words]' seed=3"),
        (
            ["+experiment=quickstart", "plugins=[./a.py]", "metric=[a]", "verdict.primary=a", "data.max_rows=9"],
            "model=echo 'plugins=[./a.py]' 'metric=[a]' verdict.primary=a",
        ),
    ],
)
def test_ones_own_data_are_learned_by_the_same_method_and_judged_by_ones_own_metric(
    tmp_path: Path, words: list[str], own: str
) -> None:
    accepted = [word for word in words if not word.startswith(("plugins", "metric", "verdict"))]
    plan = testing.plan([*accepted, "adapter.start=null"], run_dir=tmp_path)
    start = "./outputs/quickstart" if "dpo" in words[0] else None  # of the experiment: there is no such run here
    config = {**plan.config, "adapter": {**plan.config["adapter"], "start": start}}
    plan = dataclasses.replace(plan, overrides=tuple(words), config=config)
    command = dict(next_steps(plan, []))["your own data"]
    assert command == f"{this_program()} {own} data=local_file data.path=FILE.jsonl"


def test_an_export_says_what_it_made_and_how_that_is_used(see: See, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        Artifact("gguf", "gguf/a.gguf", 2**21, parity="KL 0.05", notes=["1 of 9 matrices is Q8_0"]),
        Artifact("ollama", "o/Modelfile", 200, use="o {path}"),
    ]
    monkeypatch.setattr("framework_plugins.exports.adapter.AdapterExporter.export", lambda *_: made)
    see()
    assert "score" in see("stages=[export]")  # the report, with what is added to it
    Path("run/report.json").unlink()
    lines = [" ".join(line.split()) for line in see("stages=[export]").splitlines()]
    assert lines[lines.index("exporting …") + 1 :] == [
        *(
            "gguf run/gguf/a.gguf (2.0 MiB)",
            "parity: KL 0.05",
            "note: 1 of 9 matrices is Q8_0",
            "ollama run/o/Modelfile (0.2 KiB)",
            "",
            "next",
        ),
        f"talk to it: {this_program()} chat run",
        "with ollama: o run/o/Modelfile",
        f"its report, with this: {this_program()} run_dir=run stages=[report]",
    ]


@pytest.mark.parametrize("stages", ["plan", "data"])
def test_a_look_at_the_data_or_the_plan_is_followed_by_the_whole_run(see: See, stages: str) -> None:
    *_, heading, command = see(f"stages=[{stages}]", "adapter.r=3", "plan.gpu=8GiB").splitlines()
    assert heading == "next"
    words = shlex.split(command.partition(": ")[2])
    assert "adapter.r=3" in words
    assert not [word for word in words if word.startswith(("stages", "plan.gpu", "run_dir"))]


@pytest.mark.parametrize(
    ("words", "fit", "applied"),
    [([], FitStatus.fits, True), ([], FitStatus.too_large, False), (["plan.gpu=8GiB"], FitStatus.fits, False)],
)
def test_the_whole_run_is_made_to_fit_where_the_plan_says_that_it_can(
    words: list[str], fit: FitStatus, applied: object, tmp_path: Path
) -> None:
    words = [*words, "stages=[plan]"]
    plan = dataclasses.replace(testing.plan(words, run_dir=tmp_path), overrides=(*words, "run_dir=mine"))
    forecast = Forecast(None, "", [SuggestedChange(["adapter.r=1"], 1, "little", fit)], [], None, None, [])
    command = dict(next_steps(plan, [], forecast))["the whole run"]
    assert command.endswith(" plan.apply=true") is applied
    assert "run_dir=mine" in command.split(), "the whole run is in the folder that was named"


def test_the_whole_run_trains_on_the_rows_that_the_audit_has_written(tmp_path: Path) -> None:
    words = ["data=local_file", "data.path=rows.csv", "data.encoding=cp1252", "format.strip=true"]
    words = [*words, "format.columns={output: 'Our reply'}", "audit.standard.clean=clean.jsonl", "stages=[data]"]
    plan = testing.plan([*words, "stages=[plan,data]"], run_dir=tmp_path)
    command = dict(next_steps(dataclasses.replace(plan, overrides=tuple(words)), []))["the whole run"]
    assert command.partition("-m framework ")[2] == (
        "format.strip=true \"format.columns={output: 'Our reply'}\" data=local_file data.path=clean.jsonl"
    )


def test_a_plan_alone_names_no_folder_and_the_data_alone_end_with_whether_to_train(see: See) -> None:
    assert "\nfolder " not in see("stages=[plan]")
    shown = see("stages=[data]", "audit=[]")
    assert "\nfolder " in shown
    assert "the whole run" in shown.partition("\nReady to train.")[2]


def test_of_a_sweep_the_first_trial_shows_the_plan_and_each_has_a_line_at_its_begin_and_its_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in (0, 1):
        plan = testing.plan([], run_dir=tmp_path / str(number))
        plan = dataclasses.replace(plan, sweep="x", trial=f"{number} ({number + 1} of 2): adapter.r={number}")
        report = make_report(plan, {}, {"train": 3.2}, EVEN, None, CLIMBED, None, None, current().plugins)
        console = Console(ConsoleConfig())
        for event in (RunPlanned(plan), StageStarted(Stage.train), *(TrainingStep(step) for step in STEPS)):
            console.log(event)
        console.log(RunFinished(report, []))
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2:] == [f"trial {number} ({number + 1} of 2): adapter.r={number}", "  3 s"]
        assert any(line.startswith("stages ") for line in lines) is (number == 0)


def test_in_a_pipe_what_takes_long_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(ConsoleConfig())
    console.log(StageStarted(Stage.baseline))
    for done in range(61):
        now[0] += 0.5
        progress = Progress("prompts", "prompt", done, 60, 0.5 * done, 2, 4, "measure")
        console.log(ProgressMade(Stage.baseline, progress))
    console.log(ProgressMade(Stage.export, Progress("gguf: conversion", "", 0, None, 0.0)))
    assert capsys.readouterr().out.splitlines() == [
        "asking the base model …",
        "  prompts: prompt 19 of 60, measure 2 of 4  0:20 left",
        "  prompts: prompt 39 of 60, measure 2 of 4  0:10 left",
        "  prompts: prompt 59 of 60, measure 2 of 4  0:00 left",
        "  gguf: conversion …",
    ]


@pytest.mark.parametrize(("sweep", "steps"), [("", ["1", "3", "5", "7", "8", "10"]), ("x", ["2", "4", "6", "8", "10"])])
def test_in_a_pipe_slow_steps_are_shown_about_once_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sweep: str, steps: list[str]
) -> None:
    """A tenth of a long training may take an hour; a trial of a sweep shows nothing else."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(ConsoleConfig())
    console.log(RunPlanned(dataclasses.replace(testing.plan([], run_dir=tmp_path / "1"), sweep=sweep)))
    console.log(StageStarted(Stage.train))
    for step in range(1, 11):
        now[0] += 30
        console.log(TrainingStep(Step(step, 1000, 0.1, 1.5, 2e-4, 1.0, 300, 2.0, eval_loss=None if step != 8 else 1.0)))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  step ")]
    assert [line.split()[1].partition("/")[0] for line in lines] == steps


def test_what_was_exported_is_shown_with_its_agreement_with_the_trained_model(
    see: See, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [Artifact("gguf", f"gguf/{name}.gguf", 2**20, parity=told) for name, told in (("a", "KL 0.05"), ("b", ""))]
    monkeypatch.setattr("framework_plugins.exports.adapter.AdapterExporter.export", lambda *_: made)
    lines = see("exporter=[adapter]").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("gguf"))
    shown = [" ".join(line.split()) for line in lines[at : at + 3]]
    assert shown == ["gguf run/gguf/a.gguf (1.0 MiB)", "parity: KL 0.05", "run/gguf/b.gguf (1.0 MiB)"]
