"""`checkpoint=FOLDER`: trained weights that lie elsewhere, evaluated under a plan that does not describe them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.api import records
from framework.api.plan import Plan
from framework.api.records import EvalResult
from framework.plan.make import make_plan
from framework.run import pipeline
from framework.testing import compose
from tests.support.tiny import tiny_chatml


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    tiny_chatml(folder / "base")
    rows = "".join(json.dumps({"instruction": f"say {n}", "output": f"it is {n}"}) + "\n" for n in range(30))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return folder


def plan(place: Path, run: str, *words: str) -> Plan:
    model = ["model=local", f"model.path='{place}/base'", "data=local_file", f"data.path='{place}/rows.jsonl'"]
    short = ["evaluator=[prompts]", "evaluator.prompts.max_new_tokens=4", "logger=[]", "trainer.dtype=fp32"]
    every = [*model, *short, "trainer.max_steps=3", "trainer.learning_rate=1e-2", *words]
    return make_plan(compose(every), run_dir=place / run, overrides=tuple(every))


@pytest.mark.parametrize("kind", ["adapter=lora adapter.r=4", "adapter=full"])
def test_a_checkpoint_is_measured_as_the_run_that_made_it(place: Path, kind: str) -> None:
    name = kind.partition(" ")[0].partition("=")[2]
    pipeline.run(plan(place, name, *kind.split()))
    given = f"checkpoint='{place / name}/{'adapter' if name != 'full' else 'checkpoint'}'"
    pipeline.run(plan(place, f"{name}-again", "stages=[evaluate,report]", given))
    first, again = (
        records.load(EvalResult, place / run / "evaluate.json").measures["eval_loss"] for run in (name, f"{name}-again")
    )
    assert again.value == pytest.approx(first.value, rel=1e-6)
    assert again.items == pytest.approx(first.items, rel=1e-5)


def test_what_is_no_checkpoint_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"checkpoint=nowhere: no such folder"):
        plan(place, "none", "stages=[plan]", "checkpoint=nowhere")
    with pytest.raises(FrameworkError, match=r"the folder holds no \.safetensors, so no trained weights"):
        pipeline.run(plan(place, "none", "stages=[evaluate]", f"checkpoint='{tmp_path}'"))
    with pytest.raises(
        FrameworkError, match=r"is evaluated and exported, not trained: to train on from it, set adapter\.start="
    ):
        plan(place, "none", f"checkpoint='{tmp_path}'")
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "adapter_config.json",
            '{"peft_type": "LORA", "base_model_name_or_path": "acme/b"}',
            "trained on acme/b",
        ),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../secret.safetensors"}}', "'../secret.safetensors'"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "/etc/secret.safetensors"}}', "which is not in the"),
        ("model.safetensors.index.json", "[]", "is not an index of weights"),
    ],
)
def test_a_checkpoint_of_another_base_or_with_files_elsewhere_is_refused(
    place: Path, tmp_path: Path, file: str, content: str, said: str
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(FrameworkError, match=re.escape(said)):
        pipeline.run(plan(place, "none", "stages=[evaluate]", f"checkpoint='{tmp_path}'"))


@pytest.mark.parametrize(("name", "shown"), [('"../secret.safetensors"', "'../secret.safetensors'"), ("null", "None")])
def test_a_base_whose_weights_lie_elsewhere_is_refused_before_its_rows_are_read(
    name: str, shown: str, place: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(place / "base", base)
    (base / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": {name}}}}}', "utf-8")
    with pytest.raises(FrameworkError, match=re.escape(f"names the file {shown}, which is not in the folder")):
        pipeline.run(plan(place, "none", f"model.path='{base}'", "stages=[plan]"))
