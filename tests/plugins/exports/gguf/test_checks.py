"""What cannot become a GGUF file is refused before training, with what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import testing
from framework.api.plan import Plan
from framework.api.program import check_model
from framework.api.protocols import ModelSource
from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf import checks
from framework_plugins.exports.gguf.convert import converter


def refusal(tmp_path: Path, *words: str) -> str:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path / "run")
    return str(caught.value)


def model_refusal(plan: Plan) -> str:
    """Return the refusal of the plan's model, which the plan stage asks for with its config.json."""
    source: ModelSource = plan.model.create()
    with pytest.raises(FrameworkError) as caught:
        check_model(plan, source.config_json())
    return str(caught.value)


def base(tmp_path: Path, architectures: Sequence[str]) -> list[str]:
    config = {"model_type": "llama", "architectures": list(architectures)}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "model.safetensors").touch()
    return ["model=local", f"model.path={json.dumps(str(tmp_path))}"]


def test_a_model_card_beside_the_files_is_no_foreign_file(tmp_path: Path) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    for name in ("README.md", "orders-Q8_0.gguf"):
        (folder / name).touch()
    assert checks.folder_problem(folder, "orders") == ""
    (folder / "notes.txt").touch()
    assert "it holds notes.txt" in checks.folder_problem(folder, "orders")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exporter=[gguf]", "exporter.gguf.quantizations=[q4km]"],
         "exporter.gguf.quantizations: unknown quantization 'q4km'. Did you mean 'q4_k_m'?"),
        (["exporter=[gguf]", "exporter.gguf.quantizations=[q8_0,f16,Q8_0]"], "names q8_0 twice"),
        (["exporter=[gguf]", "exporter.gguf.quantizations=[]"], "quantizations"),
        (["exporter=[gguf]", "exporter.gguf.file_name=a/b"], "without slashes or control"),
        (["exporter=[gguf]", "exporter.gguf.llama_cpp_dir=/no/such"],
         "exporter.gguf.llama_cpp_dir=/no/such: /no/such is not a source tree of llama.cpp"),
        (["exporter=[gguf_adapter]", "exporter.gguf_adapter.llama_cpp_dir=/no/such"],
         "exporter.gguf_adapter.llama_cpp_dir=/no/such: /no/such is not a source tree"),
        (["exporter=[gguf_adapter]", "adapter=full"],
         "adapter=full trains all weights, so there is no adapter to write: set exporter=[gguf]"),
        (["exporter=[gguf_adapter]", "adapter=dora"], "adapter=dora has magnitudes besides its two matrices"),
        (["exporter=[gguf_adapter]", "adapter.modules_to_save=[lm_head]"],
         "adapter.modules_to_save cannot be stored in a GGUF adapter: set exporter=[gguf], which merges it"),
        (["exporter=[gguf_adapter]", "adapter.rank_pattern={q_proj: 8}"], "adapter.rank_pattern cannot be stored in"),
        (["exporter=[gguf_adapter]", "adapter.bias=all"], "adapter.bias=all cannot be stored in a GGUF adapter"),
        (["exporter=[gguf_adapter]", "adapter.args.trainable_token_indices=[5]"],
         "adapter.args.trainable_token_indices cannot be stored in a GGUF adapter: set exporter=[gguf]"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_what_to_do(tmp_path: Path, words: list[str], said: str) -> None:
    assert said in refusal(tmp_path, *words)


def test_an_unknown_architecture_is_refused_in_a_line(tmp_path: Path) -> None:
    for exporter in ("gguf", "gguf_adapter"):
        words = [*base(tmp_path, ["VaultGemmaForCausalLM"]), f"exporter=[{exporter}]"]
        said = model_refusal(testing.plan(words, run_dir=tmp_path / "run"))
        assert (
            f"exporter.{exporter}: llama.cpp's converter does not know the architecture VaultGemmaForCausalLM" in said
        )
        assert "Did you mean" not in said
        assert len(said) < 500


def test_an_architecture_that_only_the_users_llama_cpp_knows_is_taken(tmp_path: Path) -> None:
    tree = tmp_path / "llama.cpp"
    (tree / "conversion").mkdir(parents=True)
    table = 'TEXT_MODEL_MAP: dict[str, str] = {"AcmeForCausalLM": "acme"}\n'
    (tree / converter.CONVERSION_FILE).write_text(table, encoding="utf-8")
    for exporter in ("gguf", "gguf_adapter"):
        words = [*base(tmp_path, ["AcmeForCausalLM"]), f"exporter=[{exporter}]"]
        said = model_refusal(testing.plan(words, run_dir=tmp_path / "run"))
        assert "AcmeForCausalLM" in said
        assert f"set exporter.{exporter}.llama_cpp_dir to a newer llama.cpp" in said
        plan = testing.plan([*words, f"exporter.{exporter}.llama_cpp_dir={tree}"], run_dir=tmp_path / "run")
        check_model(plan, {"architectures": ["AcmeForCausalLM"]})


def test_missing_libraries_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "missing", lambda names: [name for name in names if name.startswith("gguf")])
    said = refusal(tmp_path, "exporter=[gguf]")
    assert "exporter.gguf needs gguf>=0.19,<0.20: pip install" in said
    assert "[gguf]'" in said


def test_a_folder_with_files_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "gguf"
    folder.mkdir(parents=True)
    testing.plan(["exporter=[gguf]", "name=orders"], run_dir=tmp_path / "run")
    (folder / "orders-Q8_0.gguf").touch()
    testing.plan(["exporter=[gguf]", "name=orders"], run_dir=tmp_path / "run")
    (folder / "notes.txt").touch()
    said = refusal(tmp_path, "exporter=[gguf]", "name=orders")
    assert "gguf is not empty, it holds notes.txt: move it away, or set another folder" in said
    testing.plan(["exporter=[gguf]", "name=orders", "exporter.gguf.folder=other"], run_dir=tmp_path / "run")
    (tmp_path / "run" / "gguf_adapter").touch()
    assert "gguf_adapter is not empty, it holds a file" in refusal(tmp_path, "exporter=[gguf_adapter]")


@given(st.text(max_size=40))
def test_any_name_makes_one_plain_file_name(name: str) -> None:
    made = checks.file_name(name, "q4_k_m")
    assert made.endswith("-Q4_K_M.gguf")
    assert Path(made).name == made
    assert not made.startswith((".", "-"))


def test_file_names_are_what_people_expect() -> None:
    assert checks.file_name("orders v2", "q5_k_m") == "orders-v2-Q5_K_M.gguf"
    assert checks.file_name("orders", checks.ADAPTER_SUFFIX) == "orders-LoRA.gguf"
