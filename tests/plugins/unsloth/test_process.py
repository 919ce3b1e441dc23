"""In which process Unsloth runs, what it leaves there, and what is refused, with Unsloth itself and a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.plugins.unsloth.runs import BARE, SPY, copied, run, tiny
from tests.support.forked_program import forked, trainers
from tests.support.hub import HubStandIn
from tests.support.program import environment, framework
from tests.support.tiny import chat_rows, tiny_chatml, tiny_llama

pytestmark = pytest.mark.unsloth
MODEL = "unsloth/Meta-Llama-3.1-8B-Instruct"
DATA = "yahma/alpaca-cleaned"
WALKTHROUGH = "+experiment=llama8b_qlora_unsloth"
FAULT = """
from framework import hookimpl
from framework_plugins.unsloth.model import UnslothModel

made = UnslothModel.load

def load(self, *arguments):
    model = made(self, *arguments)
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling = {name: -scale for name, scale in module.scaling.items()}
    return model

UnslothModel.load = load

@hookimpl
def framework_advice(plan, work):
    return []
"""
ALONE = ("trainer.gradient_accumulation_steps=4",)
TWO = ("trainer.gradient_accumulation_steps=2", "launch=ddp", "launch.processes=2")
CLOSE = 1e-4
NOTED = "the run continues in a new process"
QUANTIZE = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                            bnb_4bit_compute_dtype=torch.float32)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], quantization_config=config, device_map={"": "cpu"})
model.save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


@pytest.fixture
def words(base: Path, data_file: Path) -> tuple[str, ...]:
    return tiny(base, data_file)


@pytest.mark.parametrize("order", ["hf,unsloth", pytest.param("unsloth,hf", marks=pytest.mark.slow)])
def test_a_sweep_over_both_gives_each_a_process_of_its_own(order: str, words: tuple[str, ...], tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    (cwd / "spy.py").write_text(SPY, encoding="utf-8")
    asked = ("-m", "plugins=[./spy.py]", *words, f"trainer={order}", "hydra.sweep.dir=sweep")
    done = framework(*asked, cwd=cwd, env=environment(tmp_path), timeout=540)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NOTED) == 1
    seen = [json.loads((cwd / "sweep" / point / "spy.json").read_text(encoding="utf-8")) for point in ("0", "1")]
    assert [each["trainer"] for each in seen] == order.split(",")
    assert seen[0]["pid"] != seen[1]["pid"]
    for each in seen:
        assert each["unsloth"] is (each["trainer"] == "unsloth")


def test_a_run_that_continues_in_a_new_process_says_why_writes_nothing_else_and_asks_no_host(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "spy.py").write_text(f"import transformers\n{SPY}", encoding="utf-8")
    cache = tmp_path / "cache"
    done = run(tmp_path, "plugins=[./spy.py]", *words, "trainer=unsloth", FRAMEWORK_CACHE=str(cache))
    assert done.code == 0, done.err
    assert "trainer=unsloth needs unsloth imported before transformers, which this process has imported" in done.err
    seen = json.loads((done.folder / "spy.json").read_text(encoding="utf-8"))
    assert seen["unsloth"] is True
    assert not done.asked.exists(), done.asked.read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "work").iterdir()} - {"__pycache__"} == {"run", "spy.py"}
    assert list((cache / "unsloth").glob("compared-*.json"))
    assert done.report["hardware"]["unsloth"] == f"{version('unsloth')} on a CPU"


def test_it_is_imported_silently_with_its_statistics_off_and_its_code_in_our_cache(tmp_path: Path) -> None:
    code = (
        "import os, framework_plugins.unsloth.import_unsloth as first\n"
        "print(os.environ['UNSLOTH_DISABLE_STATISTICS'], os.environ['UNSLOTH_COMPILE_LOCATION'], first.DEVICE_TYPE)"
    )
    env = environment(tmp_path, FRAMEWORK_CACHE=str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    off, folder, device = done.stdout.split()
    assert (off, device) == ("1", "cpu")
    assert Path(folder).is_relative_to(tmp_path / "cache" / "unsloth" / version("unsloth"))
    assert not (tmp_path / "unsloth_compiled_cache").exists()


def test_the_installed_version_sends_nothing_where_that_is_set() -> None:
    """Everything in it that sends statistics asks for the variable first."""
    sent = {
        file: text
        for file in (distribution("unsloth").files or ())
        if file.suffix == ".py" and "_download_statistics(" in (text := file.read_text(encoding="utf-8"))
    }
    assert [file.as_posix() for file in sent] == ["unsloth/models/_utils.py"]
    (text,) = sent.values()
    gate = text.index('"UNSLOTH_DISABLE_STATISTICS" in os.environ')
    assert text.index("def get_statistics(") < gate < text.index("    _download_statistics(\n")
    callers = [line for line in text.splitlines() if "_get_statistics(" in line.replace("def _get_statistics(", "")]
    assert callers == []


def test_a_machine_that_it_refuses_ends_the_run_before_its_data(words: tuple[str, ...], tmp_path: Path) -> None:
    """As with a driver that is too old for torch: Unsloth sees a GPU, torch none, and its import fails."""
    done = run(tmp_path, *words, "trainer=unsloth", UNSLOTH_DISABLE_CPU_FALLBACK="1")
    assert done.code == 2
    told = f"trainer=unsloth: unsloth {version('unsloth')} refuses this machine: NotImplementedError: Unsloth "
    assert f"{told}cannot find any torch accelerator? You need a GPU." in " ".join(done.err.split())
    assert "Set trainer=hf, or install what it asks for" in done.err
    assert "Traceback" not in done.err
    assert not (done.folder / "log.jsonl").exists()


def test_a_step_that_differs_from_that_of_peft_ends_the_run_before_its_data(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """With the installed Unsloth and a fault in what it returns: adapters whose update has the wrong sign."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "fault.py").write_text(FAULT, encoding="utf-8")
    cache = tmp_path / "cache"
    done = run(tmp_path, "plugins=[./fault.py]", *words, "trainer=unsloth", FRAMEWORK_CACHE=str(cache))
    assert done.code == 2
    told = "trainer=unsloth does not train llama with adapter=lora quantization=none on this CPU as transformers and "
    assert f"{told}peft do: the " in " ".join(done.err.split())
    assert "Set trainer=hf" in done.err
    assert not list(cache.rglob("compared-*"))
    assert not (done.folder / "log.jsonl").exists()


@pytest.fixture
def small_llama(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "model", hidden_size=128)


def test_the_walkthrough_takes_the_weights_that_unsloth_quantized_from_the_hub_and_says_so(
    small_llama: Path, tmp_path: Path
) -> None:
    ready, data, name = tmp_path / "ready", tmp_path / "data", f"{MODEL}-unsloth-bnb-4bit"
    assert forked(trainers(), ["-c", QUANTIZE, str(small_llama), str(ready)], tmp_path, environment(tmp_path)).code == 0
    data.mkdir()
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(40))
    (data / "train.jsonl").write_text(rows, encoding="utf-8")
    with HubStandIn({MODEL: small_llama, name: ready}, {DATA: data}) as hub:
        done = run(tmp_path, WALKTHROUGH, "trainer.max_steps=3", *BARE[:2], HF_ENDPOINT=hub.url)
        weights = {path for path in hub.requests if path.endswith(".safetensors")}
    assert done.code == 0, done.err
    assert weights
    assert {path for path in weights if name not in path} == set()
    assert done.report["hardware"]["4-bit weights"] == f"{name}, quantized by Unsloth"
    assert f"the run loads {name}" in " ".join(done.out.split())
    adapter = json.loads((done.folder / "checkpoint" / "adapter_config.json").read_text(encoding="utf-8"))
    assert adapter["base_model_name_or_path"] == MODEL
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (32, 32, 0.05)
    assert done.report["metrics"]["eval_loss"]["after"] < done.report["metrics"]["eval_loss"]["before"]


def test_two_processes_train_as_one(base: Path, data_file: Path, tmp_path: Path) -> None:
    words = (*tiny(base, data_file), "trainer.device=cpu", "trainer.dtype=fp32")
    alone = copied(tmp_path, "unsloth", *words, *ALONE, name="alone")
    two = run(tmp_path, *words, "trainer=unsloth", *TWO, name="two")
    assert (alone.code, two.code) == (0, 0), two.err
    assert len(alone.steps) == 3
    for key in ("loss", "grad_norm", "tokens", "learning_rate"):
        assert [step[key] for step in two.steps] == pytest.approx([step[key] for step in alone.steps], rel=CLOSE), key
    ours, theirs = (load_file(done.folder / "checkpoint" / "adapter_model.safetensors") for done in (alone, two))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(theirs[name], weight, atol=CLOSE, err_msg=name)
    assert "unsloth" in two.report["hardware"]
    losses = [each.report["metrics"]["eval_loss"]["after"] for each in (alone, two)]
    assert losses[1] == pytest.approx(losses[0], rel=CLOSE)
