"""The trained model as GGUF files: of a real training, read back, complete or absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework import testing
from framework.api.protocols import ExportContext
from framework.api.records import Artifact, Message
from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.convert import converter
from framework_plugins.exports.gguf.exporter import LOG, GgufExporter, WeightCount
from framework_plugins.exports.llama.model import Llama
from framework_plugins.exports.llama.template import Template
from tests.support.bases import adapted
from tests.support.ggufs import tiny_model

ALL = "[f16,q8_0,q4_k_m]"
TABLE = 'TEXT_MODEL_MAP: dict[str, str] = {"LlamaForCausalLM": "llama"}\n'


class Run:
    """A run folder with a base and an adapter as a training leaves them."""

    def __init__(self, folder: Path, name: str = "llama", **changes: Any) -> None:
        self.base = tiny_model(folder / "base", name, dtype="bfloat16", **changes)
        self.folder = folder / "run"
        adapted(self.base, self.folder / "checkpoint", r=4, lora_alpha=16)

    def export(self, *words: str) -> list[Artifact]:
        model = ["model=local", f"model.path={json.dumps(str(self.base))}", "name=orders"]
        alone = ["exporter=[gguf]", "exporter.gguf.parity.check=false"]  # the gate has tests of its own
        plan = testing.plan([*model, *alone, *words], run_dir=self.folder)
        context = ExportContext(self.folder, self.folder / "checkpoint", plan.config, plan)
        return GgufExporter(plan.exporter["gguf"].config).export(testing.EchoModel(plan), context)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if "checkpoint" not in str(path)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Artifact]]:
    run = Run(tmp_path_factory.mktemp("gguf"))
    return run, run.export(f"exporter.gguf.quantizations={ALL}")


@pytest.fixture
def run(exported: Any, tmp_path: Path) -> Run:
    """Return a copy of the run without its files."""
    copy = object.__new__(Run)
    copy.base, copy.folder = tmp_path / "base", tmp_path / "run"
    shutil.copytree(exported[0].base, copy.base)
    shutil.copytree(exported[0].folder / "checkpoint", copy.folder / "checkpoint")
    return copy


def test_one_conversion_gives_a_file_for_each_quantization_and_nothing_else_stays(exported: Any) -> None:
    run, artifacts = exported
    names = {f"gguf/orders-{name}.gguf" for name in ("F16", "Q8_0", "Q4_K_M")}
    assert run.files() == names | {"gguf"}
    assert {artifact.path for artifact in artifacts} == names
    for artifact in artifacts:
        assert artifact == Artifact("gguf", artifact.path, (run.folder / artifact.path).stat().st_size)


def test_tensors_have_the_types_that_the_names_say(exported: Any) -> None:
    run, _ = exported
    kinds = {}
    for name in ("F16", "Q8_0", "Q4_K_M"):
        tensors = gguf.GGUFReader(run.folder / "gguf" / f"orders-{name}.gguf").tensors
        kinds[name] = {tensor.tensor_type.name for tensor in tensors} - {"F32"}
    assert kinds == {"F16": {"F16"}, "Q8_0": {"Q8_0"}, "Q4_K_M": {"Q4_K", "Q6_K"}}


def test_the_f16_file_is_the_adapted_model(exported: Any) -> None:
    run, _ = exported
    base = AutoModelForCausalLM.from_pretrained(run.base, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, run.folder / "checkpoint").eval()
    ids = [int(number) for number in np.random.default_rng(1).integers(3, 300, 60)]
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
        with theirs.disable_adapter():
            plain = theirs(torch.tensor([ids])).logits[0].numpy()
    with Llama(run.folder / "gguf" / "orders-F16.gguf", threads=1) as llama:
        found = llama.logits(ids)
    assert np.abs(found - expected).mean() < 0.1 * np.abs(plain - expected).mean()


def test_template_and_stop_tokens_are_those_of_the_run(exported: Any) -> None:
    run, _ = exported
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    turns = [{"role": "user", "content": "How many are there?"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    for file in (run.folder / "gguf").iterdir():
        with Llama(file, vocabulary_only=True) as llama:
            assert llama.chat_template.endswith(tokenizer.chat_template)
            assert llama.metadata("tokenizer.ggml.eos_token_id") == str(tokenizer.eos_token_id)
            assert llama.metadata("general.name") == "orders"
            assert llama.tokenize(prompt) == tokenizer.encode(prompt, add_special_tokens=False)


def test_a_file_renders_with_the_switches_of_the_training(run: Run) -> None:
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '!' if enable_thinking is false else '?' }}"
    (run.base / "chat_template.jinja").write_text(plain, encoding="utf-8")
    run.export("exporter.gguf.quantizations=[q8_0]", "model.chat_template_kwargs={enable_thinking: false}")
    with Llama(run.folder / "gguf" / "orders-Q8_0.gguf", vocabulary_only=True) as llama:
        given = Template(llama.chat_template, {"enable_thinking": True})  # as llama.cpp's programs give it
    assert given.render([Message("user", "Well")]) == "Well!"
    run.export("exporter.gguf.quantizations=[q8_0]")
    with Llama(run.folder / "gguf" / "orders-Q8_0.gguf", vocabulary_only=True) as llama:
        assert llama.chat_template.endswith(f"-#}}{plain}")


def test_files_that_are_there_are_replaced_and_those_of_others_refused(run: Run) -> None:
    folder = run.folder / "gguf"
    folder.mkdir()
    (folder / "orders-Q8_0.gguf").write_bytes(b"of an earlier export")
    run.export("exporter.gguf.quantizations=[q8_0]")
    assert (folder / "orders-Q8_0.gguf").stat().st_size > 1000
    context = SimpleNamespace(run_dir=run.folder, config={"name": "orders"})
    (folder / "mine.txt").touch()
    exporter = GgufExporter(SimpleNamespace(folder="gguf", file_name=None, quantizations=["q8_0"]))  # type: ignore[arg-type]
    with pytest.raises(FrameworkError, match=r"is not empty, it holds mine\.txt"):
        exporter.export(None, context)  # type: ignore[arg-type]


def test_narrow_rows_are_reported_with_the_artifact(tmp_path: Path) -> None:
    run = Run(tmp_path, hidden_size=64, intermediate_size=256, head_dim=16)
    (artifact,) = run.export("exporter.gguf.quantizations=[q4_k_m]")
    (note,) = artifact.notes
    assert note.endswith("not Q4_K_M: the width of their rows is not a multiple of 256")
    assert int(note.split(" of ")[0]) == 13


def no_files(run: Run) -> None:
    assert {name for name in run.files() if name not in {"gguf", LOG}} == set()


def test_a_full_disk_is_seen_before_anything_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(FrameworkError, match=r"the export needs 0\.\d\d GiB in .*, and 0\.00 GiB are free \(merged"):
        run.export()
    no_files(run)


def test_a_converter_that_fails_leaves_nothing_but_its_log(run: Run) -> None:
    tree = run.folder.parent / "llama.cpp"
    (tree / "conversion").mkdir(parents=True)
    (tree / converter.CONVERSION_FILE).write_text(f"{TABLE}raise RuntimeError('no rope today')\n", encoding="utf-8")
    told = r"the conversion to GGUF failed: RuntimeError: no rope today .*\(full output: .*gguf\.log\)"
    with pytest.raises(FrameworkError, match=told):
        run.export(f"exporter.gguf.llama_cpp_dir={tree}")
    no_files(run)
    assert "no rope today" in (run.folder / LOG).read_text(encoding="utf-8")


def test_an_interrupt_leaves_no_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("framework_plugins.exports.gguf.exporter.TensorTypes.read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.export()
    no_files(run)


NAMED = """
_add_name = GGUFWriter.add_name
GGUFWriter.add_name = lambda self, name: _add_name(self, name + " of the tree")
"""


def test_a_source_tree_of_llama_cpp_converts_with_its_own_gguf(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is the installed converter, beside a gguf that can be recognised."""
    tree = run.folder.parent / "llama.cpp"
    tree.mkdir()
    (tree / "conversion").symlink_to(converter.converter_folder(None) / "conversion")
    own = shutil.copytree(Path(gguf.__file__).parent, tree / "gguf-py" / "gguf")
    with (own / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(NAMED)
    monkeypatch.setattr(converter, "_auto_round_folder", lambda: pytest.fail("the other converter is asked for"))
    run.export("exporter.gguf.quantizations=[q8_0]", f"exporter.gguf.llama_cpp_dir={tree}")
    with Llama(run.folder / "gguf" / "orders-Q8_0.gguf", vocabulary_only=True) as llama:
        assert llama.metadata("general.name") == "orders of the tree"


def test_most_of_the_parameters_decide_on_the_type(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(30, 4, dtype=torch.bfloat16), "b": torch.zeros(9)}, tmp_path / "model.safetensors")
    weights = WeightCount.read(tmp_path)
    assert weights == WeightCount(129, "BF16")
    assert weights.bytes == 258


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(30, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    with pytest.raises(FrameworkError, match="holds weights in U8: only BF16, F16, F32, F64"):
        WeightCount.read(tmp_path)


@pytest.mark.parametrize(
    "left",
    [
        7,
        60,
    ],
)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, left: int) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(30)}, file)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(FrameworkError, match=r"model\.safetensors is not a complete safetensors file"):
        WeightCount.read(tmp_path)


def changed_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        # whose converter needs more than a Llama's config has
        ({"architectures": ["QWenLMHeadModel"]}, r"llama\.cpp cannot run model "),
        ({"num_hidden_layers": 3}, r"nothing can be merged .*no tensor in its files becomes model\.layers\.2\."),
        ({"intermediate_size": 256}, r"nothing can be merged .*down_proj\.weight is \(256, 512\), .* \(256, 256\)"),
    ],
    ids=["a setting", "a tensor", "a shape"],
)
def test_what_the_export_lacks_is_refused_before_the_training(run: Run, changes: dict[str, Any], told: str) -> None:
    words = ["model=local", f"model.path={json.dumps(str(run.base))}", "exporter=[gguf]"]
    plan = testing.plan(words, run_dir=run.folder)
    exporter = GgufExporter(plan.exporter["gguf"].config)
    exporter.check(testing.EchoModel(plan), plan)
    changed_config(run.base, **changes)
    with pytest.raises(FrameworkError, match=rf"^exporter=gguf: {told}"):
        exporter.check(testing.EchoModel(plan), plan)


def test_an_export_is_rehearsed_before_the_weights_are_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(folder: Path) -> list[Path]:
        raise FrameworkError(f"{folder} holds no weights")

    monkeypatch.setattr("framework_plugins.exports.gguf.exporter.weight_files", none)
    words = ["model=local", f"model.path={json.dumps(str(run.base))}", "exporter=[gguf]"]
    plan = testing.plan(words, run_dir=run.folder)
    exporter = GgufExporter(plan.exporter["gguf"].config)
    exporter.check(testing.EchoModel(plan), plan)
    changed_config(run.base, architectures=["QWenLMHeadModel"])
    with pytest.raises(FrameworkError, match=r"^exporter=gguf: llama\.cpp cannot run model "):
        exporter.check(testing.EchoModel(plan), plan)


def test_answers_that_differ_from_transformers_are_told_before_the_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    words = ["model=local", f"model.path={json.dumps(str(run.base))}", "exporter=[gguf]"]
    plan, unchecked = (
        testing.plan([*words, *more], run_dir=run.folder) for more in ([], ["exporter.gguf.parity.check=false"])
    )
    exporter = GgufExporter(plan.exporter["gguf"].config)
    exporter.check(testing.EchoModel(plan), plan)
    (kept,) = (tmp_path / "cache" / "gguf-twins").iterdir()
    said = json.loads(kept.read_text(encoding="utf-8"))
    assert said["nats"] < 1e-5
    kept.write_text(json.dumps({**said, "nats": 0.5}), encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"cannot run model .*it computes something else: .* by 0\.5 nats at a"):
        exporter.check(testing.EchoModel(plan), plan)
    GgufExporter(unchecked.exporter["gguf"].config).check(testing.EchoModel(unchecked), unchecked)
