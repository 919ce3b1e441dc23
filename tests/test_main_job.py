"""The main job on a real model: SmolLM2-135M-Instruct learns to turn orders into JSON, as `make quickstart` does it.

The first run converts the model into the cache. Most tests look at one run on 48 of the 768 rows, in 12 steps, with
fewer prompts and without the GGUF file, which takes half of the time. The slow tests look at the quickstart as it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from framework.api import records
from framework.api.records import EvalResult, Outcome, Report
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare
from framework.util.hashing import file_sha256
from tests.support import first_run, plain_peft
from tests.support.network import watched
from tests.support.program import environment, framework

FEW = (  # half of a batch a step, and a higher rate for what each of them sees less
    "data.max_rows=54", "data.validation_split=0.111", "trainer.per_device_train_batch_size=4",
    "trainer.learning_rate=1e-3",
)  # fmt: skip
LESS = (
    "evaluator.prompts.count=8", "evaluator.forgetting.questions=1", "evaluator.forgetting.instructions=1",
    "evaluator.forgetting.texts=1", "evaluator.memorization.rows=2", "exporter=[adapter]",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished quickstart: its folder, its report, what it printed, and which hosts it asked for."""

    folder: Path
    report: dict[str, Any]
    printed: str
    asked: str


def run(cwd: Path, *words: str) -> Run:
    """Run the program in a new folder, without the variables that keep libraries from asking the network."""
    cwd.mkdir()
    env, asked = watched(cwd.parent)
    done = framework(*words, cwd=cwd, env=env, timeout=900)
    assert done.returncode == 0, done.stderr
    (folder,) = (cwd / "outputs" / "quickstart").iterdir()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Run(folder, report, done.stdout, asked.read_text(encoding="utf-8") if asked.exists() else "")


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("quickstart") / "work", *FEW, *LESS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("whole") / "work", "evaluator.prompts.first=60")


@pytest.mark.slow
def test_the_quickstart_answers_all_its_prompts(whole: Run) -> None:
    assert "768 to train, 32 held out, 60 prompts" in whole.printed
    assert [artifact["path"] for artifact in whole.report["artifacts"]] == [
        "adapter",
        "gguf/quickstart-Q4_K_M.gguf",
        "ollama/Modelfile",
    ]
    check_held_out(whole, prompts=60, share=0.9)  # 20 are enough for a verdict, and too few for a bound of 0.9


def test_the_held_out_orders_are_right_after_and_wrong_before(quickstart: Run) -> None:
    check_held_out(quickstart, prompts=8, share=0.75)  # of few rows, and one prompt more or less by the CPU


def check_held_out(quickstart: Run, prompts: int, share: float) -> None:
    """See that at least a share of the prompts is answered right after the training, and few were before."""
    metrics = quickstart.report["metrics"]
    assert metrics["exact_match"]["before"] <= 0.2
    assert metrics["exact_match"]["after"] >= share
    assert metrics["json_valid"]["after"] >= share + 0.05 > metrics["json_valid"]["before"]
    assert metrics["eval_loss"]["after"] < metrics["eval_loss"]["before"] / 5
    samples = json.loads((quickstart.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"]
    assert len(samples) == prompts
    right = [set(json.loads(sample["answer"])) == {"customer", "item", "quantity", "city"} for sample in samples]
    assert sum(right) >= (share + 0.05) * prompts


@pytest.mark.slow  # tests/plugins/hf/train/test_reference.py trains a tiny adapter on with pairs
def test_pairs_of_its_own_answers_make_it_brief_and_the_chosen_ones_alone_do_not(whole: Run) -> None:
    """The control learns the chosen answers for at least the same processor time."""
    cwd, results = whole.folder.parents[2], []
    for words in (("method=dpo",), ("method=sft", "trainer.num_train_epochs=4")):
        folder = cwd / words[0].replace("=", "_")
        all_prompts = "evaluator.prompts.first=60"  # else each answers as many as its own verdict needs
        done = framework("+experiment=quickstart_dpo", *words, all_prompts, f"run_dir={folder}", cwd=cwd, timeout=900)
        assert done.returncode == 0, done.stderr
        results.append(records.load(EvalResult, folder / "evaluate.json"))
    report = records.load(Report, cwd / "method_dpo" / "report.json")
    assert report.metrics["token_f1"].outcome is Outcome.better
    assert report.metrics["preference_margin"].outcome is Outcome.better
    assert report.train is not None
    assert report.train.lineage[0].sha256 == file_sha256(whole.folder / "checkpoint" / "adapter_model.safetensors")
    dpo, sft = results
    changes = compare(sft, dpo, VerdictConfig())
    assert changes["length"].outcome is Outcome.better
    assert changes["token_f1"].outcome is not Outcome.worse


def test_a_run_fills_one_screen_and_the_page_of_the_first_run_shows_its_lines(
    quickstart: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quickstart.folder.parents[2])
    lines = first_run.printed(quickstart.folder)
    at = lines.index("next")
    # The quickstart prints 79 with its bar. Commands that repeat overrides and advice on few rows are of this run only.
    assert len(lines[:at] + lines[lines.index("", at) :]) < 80
    page = first_run.PAGE.read_text(encoding="utf-8")
    # What differs with fewer prompts, rows and exports.
    fewer = ("data ", "work ", "rows ", "tokens ", "audit ", "training ", "Better", "estimates", "  ")
    gone = [line for line in first_run.missing(page, lines) if not line.startswith(fewer)]
    assert [line for line in gone if "↑" not in line and "↓" not in line] == []


def test_no_library_asks_for_a_host(quickstart: Run) -> None:
    assert quickstart.asked == ""


def test_a_person_sees_the_plan_the_progress_two_pairs_and_the_numbers(quickstart: Run) -> None:
    printed = quickstart.printed
    for part in (
        "SmolLM2-135M-Instruct", "lora r=16", "48 to train, 6 held out, 60 prompts", "step 12/12", "left",
        "before", "after", "exact_match", "json_valid", "tokens/s", "peak memory", "GiB",
        "data=local_file data.path=FILE.jsonl",
    ):  # fmt: skip
        assert part in printed, part
    assert str(quickstart.folder / "adapter")[-20:] in printed.replace("\n", "")
    answers = printed.split("\nanswers", 1)[1].split("before and after")[0]
    samples = json.loads((quickstart.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"]
    names = [json.loads(sample["reference"])["customer"].split()[0] for sample in samples]
    assert all(name in answers for name in names[:2])
    assert not all(name in answers for name in names[2:])


def test_the_run_folder_holds_a_result_for_each_stage(quickstart: Run) -> None:
    names = {file.name for file in quickstart.folder.iterdir()}
    stages = ("plan", "data", "baseline", "train", "evaluate", "export", "report")
    assert {f"{stage}.json" for stage in stages} <= names
    report = quickstart.report
    assert set(report["seconds"]) >= {"plan", "data", "baseline", "train", "evaluate", "export"}
    assert report["tokens_per_second"] > report["supervised_tokens_per_second"] > 0
    assert report["peak_memory_bytes"] > 300 * 2**20
    assert report["train"]["trainable_parameters"] < report["train"]["total_parameters"] / 20
    assert {"torch", "transformers", "accelerate", "peft", "framework-finetune"} <= report["versions"].keys()
    assert [artifact["path"] for artifact in report["artifacts"]] == ["adapter"]


@pytest.mark.slow
def test_llama_cpp_writes_conversations_by_the_exported_file_as_the_training_did(whole: Run) -> None:
    records = json.loads((whole.folder / "parity.json").read_text(encoding="utf-8"))
    (record,) = [each for each in records if each["against"] == "chat_template"]
    assert (record["name"], record["problem"], record["not_checked"]) == ("quickstart-Q4_K_M.gguf", "", "")
    assert record["conversations"] == 4 + 8  # one of each form, and prompts of the run


@pytest.mark.slow  # a tiny model shows the same in tests/plugins/hf/test_backend.py
def test_plain_peft_in_a_new_process_gives_the_same_greedy_text(quickstart: Run) -> None:
    samples = json.loads((quickstart.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"][:4]
    dtype = quickstart.report["hardware"]["dtype"].split()[0]
    prompts = [sample["prompt"] for sample in samples]
    env = environment(quickstart.folder)
    there = plain_peft.answers(quickstart.folder / "adapter", prompts, max_new_tokens=64, dtype=dtype, env=env)
    assert there == [sample["answer"] for sample in samples]


@pytest.mark.slow  # the echo backend shows the same in tests/framework/run/test_pipeline.py
def test_a_finished_run_can_be_measured_again(quickstart: Run) -> None:
    few = (
        "evaluator.prompts.count=4",
        *(f"evaluator.forgetting.{part}=1" for part in ("questions", "instructions", "texts")),
        "evaluator.memorization.rows=1",
        "logger=[jsonl]",
    )
    words = ("stages=[evaluate,report]", f"run_dir={quickstart.folder}", *few)
    cwd = quickstart.folder.parent
    done = framework(*words, cwd=cwd, env=environment(cwd))
    assert done.returncode == 0, done.stderr
    report = json.loads((quickstart.folder / "report.json").read_text(encoding="utf-8"))
    assert report["metrics"]["eval_loss"]["after"] == quickstart.report["metrics"]["eval_loss"]["after"]
    assert report["train"] == quickstart.report["train"]
    assert len(json.loads((quickstart.folder / "evaluate.json").read_text(encoding="utf-8"))["samples"]) == 4


@pytest.mark.slow  # a tiny model shows the same in tests/plugins/hf/load/test_start.py
def test_a_second_training_learns_another_format_from_the_adapter_of_the_first(quickstart: Run, tmp_path: Path) -> None:
    orders = files("framework_plugins.quickstart").joinpath("data", "orders_train.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in orders.splitlines()[200:340]]
    for row in rows:
        row["instruction"] = "Write the order as one line: quantity, item, customer, city."
        row["output"] = "{quantity} | {item} | {customer} | {city}".format(**json.loads(row["output"]))
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    other = (
        "data=local_file", f"data.path={file}", "metric=[exact_match]", f"adapter.start={quickstart.folder}",
        "data.max_rows=140", "data.validation_split=0.143",
    )  # fmt: skip
    second = run(tmp_path / "work", "+experiment=quickstart", *LESS, *other)
    (origin,) = second.report["train"]["lineage"]
    weights = (quickstart.folder / "checkpoint" / "adapter_model.safetensors").read_bytes()
    assert origin["sha256"] == hashlib.sha256(weights).hexdigest()
    assert "Better: exact_match rose " in second.printed
    exact = second.report["metrics"]["exact_match"]
    assert exact["before"] == 0
    assert exact["after"] >= 0.5


@pytest.mark.slow
def test_a_sweep_over_the_learning_rate_says_which_was_better(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    rates = "trainer.learning_rate=1e-4,5e-4"
    few = ("evaluator=[]", "logger=[jsonl]", "exporter=[adapter]")
    done = framework(
        "-m", "+experiment=quickstart", rates, "trainer.max_steps=5", *few,
        cwd=cwd, env=environment(tmp_path), timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best: trial 1 (trainer.learning_rate=0.0005)" in done.stdout
    (sweep,) = (cwd / "outputs" / "quickstart").iterdir()
    losses = [json.loads((sweep / point / "report.json").read_text())["objective"]["value"] for point in ("0", "1")]
    assert losses[1] < losses[0]
    for loss in losses:
        assert f"{loss:.4g}" in done.stdout
