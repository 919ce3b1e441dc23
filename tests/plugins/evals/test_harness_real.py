"""SmolLM2, trained and asked in memory, and the saved adapter asked by lm-eval's own command line: the same figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.protocols import ModelPlace, TrainRun
from framework.api.records import EvalResult
from framework.config import compose
from framework.config.check import check
from framework.data.stage import load_data
from framework.plan.make import make_plan
from framework_plugins.evals.config import LmEvalConfig
from framework_plugins.evals.harness.catalog import GENERAL_SUITE
from framework_plugins.evals.harness.evaluator import LmEval
from framework_plugins.hf.backend import HFBackend
from tests.support.harness_tasks import write_task
from tests.support.results import EVEN

NO_DATA = Data([], [], [], EVEN)
CAPITALS = [
    {"question": f"Q: What is the capital of {country}?\nA:", "answer": city}
    for country, city in (
        ("France", "Paris"), ("Japan", "Tokyo"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Egypt", "Cairo"),
        ("Peru", "Lima"), ("Norway", "Oslo"), ("Greece", "Athens"), ("Cuba", "Havana"), ("Kenya", "Nairobi"),
    )
]  # fmt: skip
SAID = (
    "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: answer\n"
    "generation_kwargs: {until: [\"\\n\", '.'], max_gen_toks: 48, do_sample: false}\n"
    "filter_list:\n  - {name: first, filter: [{function: remove_whitespace}, {function: take_first}]}\n"
    "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}\n"
)
LIMIT = 6
MODES: Mapping[str, tuple[list[str], list[str]]] = {
    "plain": (["general", "general_texts", "capitals"], ["--num_fewshot", "3"]),
    "chat": (["general_instructions", "capitals"], ["--num_fewshot", "2", "--apply_chat_template"]),
}


def plan(folder: Path) -> Plan:
    """Plan four steps of the quickstart in fp32."""
    words = ["+experiment=quickstart", "trainer.dtype=fp32", "trainer.max_steps=4", "logger=[]"]
    config = compose.compose(words)
    check(config)
    return make_plan(config, run_dir=folder / "run")


def in_memory(made: Plan, tasks: Path, mode: str) -> tuple[EvalResult, EvalResult]:
    """Train, and ask base and tuned through one model."""
    names, words = MODES[mode]
    config = LmEvalConfig(
        tasks=names,
        include_path=str(tasks),
        limit=LIMIT,
        num_fewshot=int(words[1]),
        apply_chat_template="--apply_chat_template" in words,
    )
    evaluator = LmEval(config)
    with HFBackend(made.trainer.config).open(made) as model:
        data = load_data(made, model)
        made.run_dir.mkdir(parents=True)
        run = TrainRun(made.checkpoint, made.run_dir / "scratch", lambda _: None)
        model.train(data.train, data.validation, run)
        tuned = evaluator.evaluate(model, NO_DATA, {})
        with model.as_base():
            return evaluator.evaluate(model, NO_DATA, {}), tuned


def by_command_line(base: ModelPlace, folder: Path, mode: str, adapter: Path | None) -> dict[str, float]:
    """Return the figures and standard errors that `lm_eval` prints for the saved adapter."""
    names, words = MODES[mode]
    out = folder / f"out-{mode}-{adapter is not None}"
    include = folder / "all"
    if not include.exists():
        for place in (folder / "tasks", GENERAL_SUITE):
            shutil.copytree(place, include / place.name)
    settings = f"pretrained={base.folder},dtype=float32" + (f",peft={adapter}" if adapter else "")
    command = ["--model", "hf", "--model_args", settings, "--device", "cpu", "--batch_size", "8", "--tasks", *names]
    command += [*words, "--limit", str(LIMIT), "--include_path", str(include), "--output_path", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "run", *command],
        cwd=folder / "tasks",
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = out.rglob("results_*.json")
    told = json.loads(file.read_text(encoding="utf-8"))["results"]
    return {
        ".".join([task, *(part for part in key.split(",") if part != "none")]): value
        for task, row in told.items()
        for key, value in row.items()
        if "," in key and isinstance(value, float | int)
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(MODES))
def test_the_figures_are_those_of_the_command_line_on_the_saved_adapter(
    tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks").mkdir()
    write_task(tmp_path / "tasks", "capitals", CAPITALS, SAID)
    made = plan(tmp_path)
    found = in_memory(made, tmp_path / "tasks", mode)
    base: ModelPlace = made.model.create().fetch(weights=True)
    for result, adapter in zip(found, (None, made.checkpoint), strict=True):
        wanted = by_command_line(base, tmp_path, mode, adapter)
        ours = figures(result)
        with capsys.disabled():
            for name, value in sorted(ours.items()):
                who = f"{mode} {'tuned' if adapter else 'base'} {name}"
                print(f"{who:60} here {value:.6f}  lm_eval {wanted[name]:.6f}")  # noqa: T201 - what this test is to show
        assert ours == pytest.approx(wanted, rel=2e-3, abs=1e-6)


def figures(result: EvalResult) -> dict[str, float]:
    """Return the measures with their standard errors, as `by_command_line` names them."""
    ours = {}
    for name, measure in result.measures.items():
        task, metric, *chosen = name.split(".")
        ours[name] = measure.value
        if measure.stderr is not None:
            ours[".".join([task, f"{metric}_stderr", *chosen])] = measure.stderr
    return ours
