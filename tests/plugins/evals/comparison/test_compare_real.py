"""`compare` on logs that lm-eval and inspect have just written, and on files of gigabytes."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framework_plugins.evals.comparison.evaluations import LONGEST_LINE
from tests.support.harness_tasks import write_tasks
from tests.support.project import project

MOST_BYTES = 500 << 20
"""Memory of a process that reads a file of a gigabyte; the libraries of the program are a part of it."""


def evaluate_by_lm_eval(tasks: Path, output: Path, *, wrong: int) -> None:
    """Let lm-eval evaluate a model that is right except for the first `wrong` questions, and write its logs."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    class Knows(LM):
        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            asked = [(int(re.findall(r"\d+", one.args[0])[0]), int(one.args[1])) for one in requests]
            return [(-float(abs(answer - number - (1 if number > wrong else 2))), False) for number, answer in asked]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            return [-float(len(one.args[0]) + wrong) for one in requests]

        def generate_until(self, requests: list[Any]) -> list[str]:
            raise NotImplementedError

    tracker = EvaluationTracker(output_path=str(output))
    tracker.general_config_tracker.model_name_sanitized = "knows"
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(
        Knows(), tasks=["follows", "rolling"], task_manager=manager, bootstrap_iters=100, log_samples=True
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for name, rows in samples.items():
        tracker.save_results_samples(task_name=name, samples=rows)


def test_logs_of_lm_eval_are_compared_with_the_figures_that_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    tasks = write_tasks(tmp_path / "tasks")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    monkeypatch.chdir(tasks)
    for name, wrong in (("base", 7), ("tuned", 0)):
        evaluate_by_lm_eval(tasks, tmp_path / name, wrong=wrong)
    result = project(tmp_path).run("compare", "base", "tuned", "--json")
    assert result.err == ""
    value = json.loads(result.out)
    printed = {one["name"]: [each["printed"] for each in one["systems"].values()] for one in value["measures"]}
    (log,) = (tmp_path / "base").glob("*/results_*.json")
    figures = json.loads(log.read_text(encoding="utf-8"))["results"]["follows"]
    assert printed["follows.acc"] == [
        f"{figures['acc,none']:.4f} ± {figures['acc_stderr,none']:.4f}", "1.0000 ± 0.0000",
    ]  # fmt: skip
    assert [*printed] == [
        "follows.acc", "follows.acc_norm",
        "rolling.word_perplexity", "rolling.byte_perplexity", "rolling.bits_per_byte",
    ]  # fmt: skip
    alone = project(tmp_path).run("compare", "base", "tuned", "--metric", "follows.acc", "--json")
    (acc,) = json.loads(alone.out)["measures"][0]["comparisons"]
    assert (acc["outcome"], acc["p_value"]) == ("better", pytest.approx(2 / 2**7))


MADE = """
import sys
from inspect_ai import Task, eval as run
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate

folder, kind, right = sys.argv[1], sys.argv[2], {*map(int, sys.argv[3].split(","))}

def answer(messages, *_):
    number = int(messages[-1].text.split()[2])
    output = ModelOutput.from_content("mockllm/model", str(2 * number) if number in right else "I do not know")
    output.usage = ModelUsage()  # or inspect fetches a tokenizer
    return output

asked = [
    Sample(id=f"sum-{n}", input=f"What is {n} + {n}?", target=str(2 * n), metadata={"topic": f"t{n // 2}"})
    for n in range(8)
]
task = Task(dataset=MemoryDataset(asked, name="sums"), solver=[generate()], scorer=match(), name="sums")
model = get_model("mockllm/model", custom_outputs=answer, memoize=False)
run(task, model=model, log_dir=folder, log_format=kind, max_samples=1, display="none")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["eval", "json"])
def test_logs_of_inspect_are_compared_with_the_figures_that_it_prints(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    for name, right in (("one", "0"), ("two", "0,1,2,4,5,6,7")):
        subprocess.run([sys.executable, "-c", MADE, str(tmp_path / name), kind, right], check=True)
    result = project(tmp_path).run("compare", "one", "two", "--cluster", "topic")
    assert result.err == ""
    assert "match: 8 items in 4 clusters" in result.out
    assert "A  0.125 ± 0.125" in result.out
    assert "B  0.875 ± 0.125" in result.out


READ = """
import resource, sys
from pathlib import Path
from framework_plugins.evals.comparison import items_file

found = items_file.read(Path(sys.argv[1]), "", texts=True)
print(len(found.items), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


@pytest.mark.slow
def test_a_file_of_a_gigabyte_is_read_line_by_line(tmp_path: Path) -> None:
    file, text = tmp_path / "scores.jsonl", "word " * 1000
    with file.open("w", encoding="utf-8") as lines:
        for number in range(200_000):
            row = {"id": number, "scores": {"acc": number % 3}, "prompt": f"{number} {text}"}
            lines.write(json.dumps(row) + "\n")
    done = subprocess.run([sys.executable, "-c", READ, str(file)], check=True, capture_output=True, encoding="utf-8")
    items, most = map(int, done.stdout.split())
    assert items == 200_000
    assert most < MOST_BYTES < file.stat().st_size


def test_a_file_that_has_no_lines_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    place = project(tmp_path, {"a.jsonl": '{"id": 1, "scores": {"acc": 1}}\n'})
    with (tmp_path / "b.jsonl").open("wb") as file:
        file.truncate(3 << 30)  # sparse: it takes no room
    result = place.run("compare", "a.jsonl", "b.jsonl")
    assert result.err == (
        f"b.jsonl:1: the line has more than {LONGEST_LINE >> 20} MiB. A JSONL file has one item a line: was the file "
        "cut, or is it another one?\n"
    )
