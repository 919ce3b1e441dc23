"""A whole run that is killed four times comes to the same adapter and the same numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_program import MODULE, launch, trainers
from tests.support.tiny import chat_rows, tiny_llama

KILLED = """
import os, signal
from framework.cli.main import main
from framework.evaluate.measure import Measuring
from framework.run import stages
from framework_plugins.hf.train import progress
from framework_plugins.hf.model import HFModel
from framework_plugins.exports.adapter import AdapterExporter

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

where, step = os.environ["WHERE"].split(":")
if where == "step":
    told = progress.Progress.on_log
    def on_log(self, args, state, control, **more):
        told(self, args, state, control, **more)
        if state.global_step == int(step):
            die()
    progress.Progress.on_log = on_log
elif where == "saved":
    HFModel.forget_checkpoints = die
elif where == "evaluate":
    Measuring.trained = die
elif where == "export":
    AdapterExporter.export = die
main()
"""
KILLS = ("step:5", "saved:", "evaluate:", "export:")
WORDS = (
    "model=local", "model.path=model", "data=local_file", "data.path=rows.jsonl", "trainer.device=cpu",
    "trainer.dtype=fp32", "metric=[]", "evaluator=[]", "exporter=[adapter]", "logger=[jsonl]", "adapter.r=4",
    "trainer.max_steps=6", "trainer.save_steps=2", "audit=[]", "trainer.gradient_accumulation_steps=1",
    "data.validation_split=0.2", "adapter.lora_dropout=0.1",
)  # fmt: skip
OWN = {"seconds", "run_dir", "finished", "tokens_per_second", "supervised_tokens_per_second", "peak_memory_bytes"}
OF_TRAINING = {"seconds", "resumed", "peak_memory_bytes"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny_llama(tmp_path / "model")
    lines = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def outcome(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the numbers of a report, and a hash of each file of the adapter."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    numbers = {key: value for key, value in report.items() if key not in OWN}
    numbers["data"] = {key: value for key, value in report["data"].items() if key != "cached"}
    numbers["artifacts"] = [each["path"] for each in report["artifacts"]]  # run_config.json names the folder
    numbers["train"] = {key: value for key, value in report["train"].items() if key not in OF_TRAINING}
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (folder / "checkpoint").iterdir()}
    return numbers, files


def test_four_kills_leave_the_same_result_and_repeat_no_finished_stage(place: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1"}
    straight = launch(MODULE, *WORDS, "run_dir=straight", cwd=place, env=env, of=trainers())
    assert straight.code == 0, straight.err
    command = (MODULE[0], "-c", KILLED)
    for where in KILLS:
        ended = launch(command, *WORDS, "run_dir=killed", cwd=place, env={**env, "WHERE": where}, of=trainers())
        assert ended.code == -9, (where, ended.err)
    last = launch(MODULE, "resume", "killed", cwd=place, env=env, of=trainers())
    assert last.code == 0, last.err
    assert "kept, because an earlier start of this run completed it: baseline, train, evaluate" in last.err
    assert outcome(place / "killed") == outcome(place / "straight")
    lines = (place / "killed" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    # The start that came to the end of the training is the one before the last three.
    assert [event["step"] for event in events if event["event"] == "step"].count(6) == 4
    assert not [path.name for path in (place / "killed").iterdir() if path.name in {".resume", ".completed.json"}]
