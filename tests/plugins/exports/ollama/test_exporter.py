"""The Modelfile as a whole: what it names, what is derived, and why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from framework import testing
from framework.api.protocols import ExportContext, Model
from framework.api.records import Artifact, Message, Prompt
from framework.util.errors import FrameworkError
from framework_plugins.exports.chat_template import switched
from framework_plugins.exports.config import OllamaExporterConfig, OnNoTemplate
from framework_plugins.exports.ollama.exporter import OllamaExporter
from framework_plugins.hf.chat import Chat
from tests.support.families import make_tokenizer
from tests.support.ollama import Asked, gguf_file, parsed, rendered

ROOT = Path(__file__).parents[4]
ADDS = "tokenizer.ggml.add_bos_token"
TALK = [Message("user", "What is it?"), Message("assistant", "It is {}."), Message("user", "Why?")]


class Speaks:
    """A model that can write a conversation and save its tokenizer."""

    def __init__(self, tokenizer: Any, settings: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self.chat = Chat(tokenizer, frozenset(), settings)

    def render(self, prompt: Prompt) -> str:
        return self.chat.prompt(prompt.messages)

    def save_tokenizer(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Return a run folder with trained weights and a GGUF file of them."""
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "adapter_model.safetensors").write_bytes(b"weights")
    gguf_file(folder / "gguf" / "orders-Q4_K_M.gguf", **{ADDS: False})
    return folder


def export(
    run_dir: Path,
    model: Speaks,
    config: OllamaExporterConfig | None = None,
    artifacts: Sequence[str] = ("gguf/orders-Q4_K_M.gguf",),
    words: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Run the exporter and return what a new Ollama reads in the Modelfile, after checking what the exporter names."""
    plan = testing.plan(["stages=[export]", *words], run_dir=run_dir)
    kind = "gguf_adapter" if config and config.base else "gguf"
    made = tuple(Artifact(kind, path, (run_dir / path).stat().st_size) for path in artifacts)
    context = ExportContext(run_dir, plan.checkpoint, plan.config, plan, made)
    exporter = OllamaExporter(config or OllamaExporterConfig())
    (artifact,) = exporter.export(cast("Model", model), context)
    text = (run_dir / artifact.path).read_text(encoding="utf-8")
    assert (artifact.kind, artifact.bytes) == ("ollama", len(text.encode()))
    return parsed(text)


def comments(run_dir: Path) -> str:
    lines = (run_dir / "ollama" / "Modelfile").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


@pytest.fixture(scope="module")
def smollm2() -> Speaks:
    from transformers import AutoTokenizer

    from framework_plugins.quickstart.config import SmolLM2Config
    from framework_plugins.quickstart.smollm2 import SmolLM2

    return Speaks(AutoTokenizer.from_pretrained(SmolLM2(SmolLM2Config()).fetch(weights=False).folder))


def test_smollm2s_own_chat_template_with_its_default_system_prompt(run_dir: Path, smollm2: Speaks) -> None:
    values = dict(export(run_dir, smollm2, words=["trainer.max_seq_length=512"]))
    assert list(values) == ["FROM", "TEMPLATE", "SYSTEM", "PARAMETER stop", "PARAMETER num_ctx"]
    assert values["FROM"] == "../gguf/orders-Q4_K_M.gguf"
    assert (run_dir / "ollama" / values["FROM"]).is_file()
    assert values["SYSTEM"] == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert values["PARAMETER stop"] == "<|im_end|>"
    assert values["PARAMETER num_ctx"] == "512"
    talks = [TALK, TALK[:1], [Message("system", "Be brief."), *TALK]]
    expected = [smollm2.render(Prompt(tuple(talk))) for talk in talks]
    assert rendered([Asked(values["TEMPLATE"], talk, values["SYSTEM"]) for talk in talks]) == expected
    assert rendered([Asked(values["TEMPLATE"], talk) for talk in talks]) == expected


def test_the_modelfile_in_the_documentation_is_that_of_the_quickstart(run_dir: Path, smollm2: Speaks) -> None:
    (run_dir / "gguf" / "orders-Q4_K_M.gguf").unlink()  # of a run by another name
    gguf_file(run_dir / "gguf" / "quickstart-Q4_K_M.gguf", **{ADDS: False})
    export(run_dir, smollm2, artifacts=["gguf/quickstart-Q4_K_M.gguf"], words=["+experiment=quickstart", "model=echo"])
    page = (ROOT / "docs" / "how-to" / "llama-cpp-and-ollama.md").read_text(encoding="utf-8")
    shown = page.partition("```dockerfile\n")[2].partition("```")[0]
    assert (run_dir / "ollama" / "Modelfile").read_text(encoding="utf-8") == shown


def test_a_token_that_the_file_adds_is_left_out_of_the_template(run_dir: Path) -> None:
    model = Speaks(make_tokenizer("llama3"))
    with_it = dict(export(run_dir, model))["TEMPLATE"]
    gguf_file(run_dir / "gguf" / "orders-Q4_K_M.gguf", **{ADDS: True})
    without = dict(export(run_dir, model))["TEMPLATE"]
    one, two = rendered([Asked(with_it, TALK), Asked(without, TALK)])
    assert one == "<|begin_of_text|>" + two == model.render(Prompt(tuple(TALK)))


def test_a_file_that_does_not_say_is_taken_to_do_what_the_tokenizer_does(run_dir: Path) -> None:
    model = Speaks(make_tokenizer("llama3"))
    gguf_file(run_dir / "gguf" / "orders-Q4_K_M.gguf")
    assert "<|begin_of_text|>" in dict(export(run_dir, model))["TEMPLATE"]


def test_the_run_s_own_system_prompt_wins_over_the_default_one(run_dir: Path) -> None:
    words = ['format.system_prompt="Say \\"JSON\\" only.\nNo more."']
    assert (
        dict(export(run_dir, Speaks(make_tokenizer("chatml")), words=words))["SYSTEM"] == 'Say "JSON" only.\nNo more.'
    )


def test_a_chat_template_without_a_place_for_it_gets_no_system_prompt(run_dir: Path) -> None:
    instructions = export(run_dir, Speaks(make_tokenizer("gemma")), words=["format.system_prompt=Be brief."])
    assert "SYSTEM" not in dict(instructions)
    assert "The chat template takes no system prompt" in comments(run_dir)


def test_settings_win_over_what_is_derived(run_dir: Path) -> None:
    gguf_file(run_dir / "gguf" / "orders-F16.gguf", **{ADDS: False})
    config = OllamaExporterConfig(folder="served", quantization="F16", num_ctx=8192, license='"MIT"')
    paths = ["gguf/orders-Q4_K_M.gguf", "gguf/orders-F16.gguf"]
    values = dict(export(run_dir, Speaks(make_tokenizer("chatml")), config, paths))
    assert values["FROM"] == "../gguf/orders-F16.gguf"
    assert values["PARAMETER num_ctx"] == "8192"
    assert values["LICENSE"] == '"MIT"'
    assert (run_dir / "served" / "Modelfile").is_file()


def test_the_license_beside_the_base_model_goes_with_it(run_dir: Path, tmp_path: Path) -> None:
    from tests.support.tiny import tiny_chatml

    base = tiny_chatml(tmp_path / "base")
    (base / "LICENSE").write_text("Anyone may use it.\n", encoding="utf-8")
    words = ["model=local", f"model.path={base}"]
    values = dict(export(run_dir, Speaks(make_tokenizer("chatml")), words=words))
    assert values["LICENSE"] == "Anyone may use it.\n"


def test_without_artifacts_of_this_run_the_smallest_file_of_an_earlier_export_is_taken(run_dir: Path) -> None:
    gguf_file(run_dir / "gguf" / "orders-F16.gguf", general__description="a larger file")
    gguf_file(run_dir / "gguf_adapter" / "orders-F16.gguf", general__type="adapter")
    gguf_file(run_dir / "rejected" / "a.gguf")
    model = Speaks(make_tokenizer("chatml"))
    assert dict(export(run_dir, model, artifacts=[]))["FROM"] == "../gguf/orders-Q4_K_M.gguf"


def test_a_file_of_weights_that_were_trained_before_is_not_taken(run_dir: Path) -> None:
    later = (run_dir / "gguf" / "orders-Q4_K_M.gguf").stat().st_mtime + 10
    os.utime(run_dir / "checkpoint" / "adapter_model.safetensors", (later, later))
    plan = testing.plan(["stages=[export]"], run_dir=run_dir)
    context = ExportContext(run_dir, plan.checkpoint, plan.config, plan)
    with pytest.raises(FrameworkError, match=r"there is none: set exporter=\[gguf,ollama\]"):
        OllamaExporter(OllamaExporterConfig()).export(cast("Model", Speaks(make_tokenizer("chatml"))), context)


@pytest.mark.parametrize("base", ["llama3.2:1b", "base.gguf"])
def test_an_adapter_is_named_beside_its_base(run_dir: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.chdir(run_dir.parent)
    gguf_file(Path("base.gguf"), **{ADDS: True})
    gguf_file(run_dir / "gguf_adapter" / "orders-F16.gguf", general__type="adapter")
    config = OllamaExporterConfig(base=base)
    instructions = export(run_dir, Speaks(make_tokenizer("llama3")), config, ["gguf_adapter/orders-F16.gguf"])
    expected = str(Path("base.gguf").absolute()) if base == "base.gguf" else base
    assert instructions[:2] == [("FROM", expected), ("ADAPTER", "../gguf_adapter/orders-F16.gguf")]
    assert "<|begin_of_text|>" not in dict(instructions)["TEMPLATE"] or base != "base.gguf"
    assert "from 0.34.1 on" in comments(run_dir)


def test_what_cannot_be_derived_fails_with_the_reason_and_what_to_do(run_dir: Path) -> None:
    with pytest.raises(FrameworkError) as raised:
        export(run_dir, Speaks(make_tokenizer("qwen3")))
    assert str(raised.value) == (
        "exporter=ollama cannot put this chat template into a TEMPLATE: it takes the thoughts out of earlier answers, "
        "which no TEMPLATE can.\nA new Ollama renders the chat template in the GGUF file itself: "
        "exporter.ollama.on_no_template=skip"
    )
    assert not (run_dir / "ollama").exists()


def test_what_cannot_be_derived_is_told_before_anything_is_trained(run_dir: Path) -> None:
    plan = testing.plan(["stages=[export]"], run_dir=run_dir)
    thinks, quiet = Speaks(make_tokenizer("qwen3")), Speaks(make_tokenizer("qwen3"), {"enable_thinking": False})
    exporter, lenient = (OllamaExporter(OllamaExporterConfig(on_no_template=what)) for what in OnNoTemplate)
    with pytest.raises(FrameworkError, match="cannot put this chat template into a TEMPLATE"):
        exporter.check(cast("Model", thinks), plan)
    exporter.check(cast("Model", quiet), plan)
    lenient.check(cast("Model", thinks), plan)


def test_what_cannot_be_derived_is_left_out_where_the_config_says_so(run_dir: Path) -> None:
    config = OllamaExporterConfig(on_no_template=OnNoTemplate.skip)
    instructions = export(run_dir, Speaks(make_tokenizer("qwen3")), config)
    assert [name for name, _ in instructions] == ["FROM", "REQUIRES", "PARAMETER stop", "PARAMETER num_ctx"]
    assert "it takes the thoughts out of earlier answers" in comments(run_dir)
    assert "OLLAMA_GO_TEMPLATE=0" in comments(run_dir)


def test_switches_of_the_chat_template_are_in_the_template(run_dir: Path) -> None:
    switches, tokenizer = {"enable_thinking": False}, make_tokenizer("qwen3")
    words = ["model.chat_template_kwargs={enable_thinking: false}"]
    inside = switched(tokenizer.chat_template, switches, always=True)
    gguf_file(run_dir / "gguf" / "orders-Q4_K_M.gguf", tokenizer__chat_template=inside, **{ADDS: False})
    values = dict(export(run_dir, Speaks(tokenizer, switches), words=words))
    assert rendered([Asked(values["TEMPLATE"], TALK[:1])])[0].endswith("<think>\n\n</think>\n\n")
    assert "OLLAMA_GO_TEMPLATE" not in comments(run_dir)


def test_a_file_without_the_switches_of_the_run_is_told_of_in_a_comment(run_dir: Path) -> None:
    switches = {"enable_thinking": False}
    words = ["model.chat_template_kwargs={enable_thinking: false}"]
    values = dict(export(run_dir, Speaks(make_tokenizer("qwen3"), switches), words=words))
    assert rendered([Asked(values["TEMPLATE"], TALK[:1])])[0].endswith("<think>\n\n</think>\n\n")
    assert "OLLAMA_GO_TEMPLATE=1" in comments(run_dir)
    assert "'enable_thinking': False" in comments(run_dir)


@pytest.mark.parametrize(
    ("words", "config", "told"),
    [
        (
            [],
            OllamaExporterConfig(quantization="q5_k_m"),
            r"q5_k_m: unknown GGUF file 'q5_k_m'. Did you mean 'q4_k_m'\?",
        ),
        ([], OllamaExporterConfig(license='MIT"""\nx'), "exporter.ollama.license: a Modelfile cannot hold"),
        (['format.system_prompt="a\u200bb"'], None, "format.system_prompt: a Modelfile cannot hold the character"),
        ([], OllamaExporterConfig(base="nothing.gguf"), "exporter.ollama.base=nothing.gguf: there is no such file"),
    ],
)
def test_what_cannot_be_is_told(
    run_dir: Path, words: list[str], config: OllamaExporterConfig | None, told: str
) -> None:
    with pytest.raises(FrameworkError, match=told):
        export(run_dir, Speaks(make_tokenizer("chatml")), config, words=words)


def test_a_folder_that_holds_something_else_is_left_alone(run_dir: Path) -> None:
    (run_dir / "ollama").mkdir()
    (run_dir / "ollama" / "notes.txt").touch()
    with pytest.raises(FrameworkError, match=r"holds notes.txt, which is no Modelfile"):
        export(run_dir, Speaks(make_tokenizer("chatml")))
    shutil.rmtree(run_dir / "ollama")
    export(run_dir, Speaks(make_tokenizer("chatml")))
    export(run_dir, Speaks(make_tokenizer("chatml")))
    assert [file.name for file in (run_dir / "ollama").iterdir()] == ["Modelfile"]
