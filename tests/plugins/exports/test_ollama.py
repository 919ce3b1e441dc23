"""exports/ollama.py: what a Modelfile names, what it takes from the run, how it quotes, and why there is none."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import Component, testing
from framework.api import records
from framework.api.protocols import ExportContext
from framework.api.records import Artifact, DataResult, ExportResult, Origin
from framework.api.selection import Selection
from framework.run import pipeline
from framework.run.export import in_order
from framework.util.errors import FrameworkError
from framework_plugins.exports.adapter import AdapterExporter
from framework_plugins.exports.config import AdapterExporterConfig, GgufExporterConfig, OllamaExporterConfig
from framework_plugins.exports.ollama import OllamaExporter, QuotingError, problems, quote, render_modelfile
from tests.support.modelfiles import parsed

ROOT = Path(__file__).parents[3]
Q4 = "gguf/orders-Q4_K_M.gguf"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataResult:
    """Return what a data stage left."""
    plan = testing.plan(["stages=[data]"], run_dir=tmp_path_factory.mktemp("data") / "run")
    pipeline.run(plan)
    return records.load(DataResult, plan.run_dir / "data.json")


class Model(testing.EchoModel):
    """Stops at two tokens."""

    stop_ids = frozenset({7, 2})

    def decode(self, ids: Sequence[int]) -> str:
        return "".join({2: "<|im_end|>", 7: "### end"}[number] for number in ids)


def export(
    run_dir: Path, config: OllamaExporterConfig | None = None, made: Sequence[str] = (Q4,), words: Sequence[str] = ()
) -> tuple[list[tuple[str, str]], Artifact]:
    """Run the exporter; return what Ollama reads in the Modelfile, and the artifact."""
    for path in made:
        (run_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / path).write_bytes(b"GGUF")
    plan = testing.plan(["stages=[train,export]", *words], run_dir=run_dir)
    artifacts = tuple(Artifact("gguf", path, 4) for path in made)
    context = ExportContext(run_dir, plan.checkpoint, plan.config, plan, artifacts)
    (artifact,) = OllamaExporter(config or OllamaExporterConfig()).export(Model(plan), context)
    text = (run_dir / artifact.path).read_text(encoding="utf-8")
    assert (artifact.kind, artifact.bytes) == ("ollama", len(text.encode()))
    return parsed(text), artifact


def test_it_can_be_written_again_beside_the_card_that_was_put_there(tmp_path: Path) -> None:
    _, first = export(tmp_path)
    (tmp_path / "ollama" / "README.md").write_text("# orders", encoding="utf-8")
    _, again = export(tmp_path)
    assert again == first
    assert again.use == "ollama create run -f {path} && ollama run run"
    (tmp_path / "ollama" / "mine.txt").touch()
    with pytest.raises(FrameworkError, match=r"mine\.txt, which is not a Modelfile"):
        export(tmp_path)


def test_it_has_no_template_and_requires_an_ollama_that_renders_the_files_own(tmp_path: Path) -> None:
    instructions, _ = export(tmp_path, words=["trainer.max_seq_length=512"])
    assert instructions == [
        ("FROM", "../gguf/orders-Q4_K_M.gguf"),
        ("REQUIRES", "0.30.11"),
        ("PARAMETER stop", "<|im_end|>"),
        ("PARAMETER stop", "### end"),
        ("PARAMETER num_ctx", "512"),
        ("PARAMETER temperature", "0"),
        ("PARAMETER repeat_penalty", "1"),
    ]
    assert (tmp_path / "ollama" / instructions[0][1]).is_file()


def test_the_system_prompt_of_most_rows_goes_with_it(tmp_path: Path, data: DataResult) -> None:
    records.save(dataclasses.replace(data, system_prompt='Say "JSON" only.\nNo more.'), tmp_path / "data.json")
    instructions, artifact = export(tmp_path)
    assert dict(instructions)["SYSTEM"] == 'Say "JSON" only.\nNo more.'
    assert artifact.notes == []
    records.save(data, tmp_path / "data.json")
    assert "SYSTEM" not in dict(export(tmp_path)[0])


@pytest.mark.parametrize(
    ("prompt", "why"), [("a\u200bb", "a Modelfile cannot hold"), ("The key is (hidden).", "it holds a secret")]
)
def test_a_system_prompt_that_a_modelfile_cannot_hold_is_left_out_with_the_reason(
    tmp_path: Path, data: DataResult, prompt: str, why: str
) -> None:
    records.save(dataclasses.replace(data, system_prompt=prompt), tmp_path / "data.json")
    instructions, artifact = export(tmp_path)
    assert "SYSTEM" not in dict(instructions)
    (note,) = artifact.notes
    assert note.startswith("The system prompt of the training is left out here (" + why)
    assert f"# {note}" in (tmp_path / artifact.path).read_text(encoding="utf-8")


def test_settings_win_over_what_the_run_says(tmp_path: Path) -> None:
    config = OllamaExporterConfig(folder="served", quantization="F16", num_ctx=8192, license='"MIT"')
    values = dict(export(tmp_path, config, [Q4, "gguf/orders-F16.gguf"])[0])
    assert values["FROM"] == "../gguf/orders-F16.gguf"
    assert values["PARAMETER num_ctx"] == "8192"
    assert values["LICENSE"] == '"MIT"'
    assert (tmp_path / "served" / "Modelfile").is_file()


def test_the_license_beside_the_base_model_goes_with_it(tmp_path: Path) -> None:
    from tests.support.tiny import tiny_chatml

    base = tiny_chatml(tmp_path / "base")
    (base / "LICENSE").write_text("Anyone may use it.\n", encoding="utf-8")
    values = dict(export(tmp_path / "run", words=["model=local", f"model.path={base}"])[0])
    assert values["LICENSE"] == "Anyone may use it.\n"


def test_without_a_file_of_these_weights_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"there is none: set exporter=\[gguf,ollama\]"):
        export(tmp_path, made=[])


def test_a_quantization_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"q5_k_m: unknown GGUF file 'q5_k_m'. Did you mean 'q4_k_m'\?"):
        export(tmp_path, OllamaExporterConfig(quantization="q5_k_m"))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ollama").mkdir()
    (tmp_path / "ollama" / "notes.txt").touch()
    with pytest.raises(FrameworkError, match=r"holds notes.txt, which is not a Modelfile"):
        export(tmp_path)
    shutil.rmtree(tmp_path / "ollama")
    export(tmp_path)
    export(tmp_path)
    assert [file.name for file in (tmp_path / "ollama").iterdir()] == ["Modelfile"]


def test_the_modelfile_in_the_documentation_has_the_instructions_of_the_exporter(
    tmp_path: Path, data: DataResult
) -> None:
    records.save(dataclasses.replace(data, system_prompt="Answer with JSON."), tmp_path / "data.json")
    instructions, _ = export(tmp_path)
    page = (ROOT / "docs" / "how-to" / "llama-cpp-and-ollama.md").read_text(encoding="utf-8")
    shown = parsed(page.partition("```dockerfile\n")[2].partition("```")[0])
    assert list(dict(shown)) == list(dict(instructions))
    assert dict(shown)["REQUIRES"] == dict(instructions)["REQUIRES"]


NEEDED = r"exporter=\[ollama\] writes a Modelfile for a GGUF file, and there is none: set exporter=\[gguf,ollama\]"


def plan(folder: Path, *words: str) -> None:
    testing.plan(["exporter=[ollama]", *words], run_dir=folder)


def left(folder: Path) -> None:
    """Leave the record of an export of a GGUF file."""
    folder.mkdir(exist_ok=True)
    path = "gguf/orders-Q4_K_M.gguf"
    records.save(ExportResult([Artifact("gguf", path, 4)], {"gguf": Origin("", "", [path])}), folder / "export.json")


def test_without_a_file_it_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=NEEDED):
        plan(tmp_path)


def test_a_file_of_an_earlier_export_is_enough_unless_the_weights_change(tmp_path: Path) -> None:
    left(tmp_path)
    plan(tmp_path, "stages=[export]")
    with pytest.raises(FrameworkError, match=NEEDED):
        plan(tmp_path, "stages=[train,export]")


def test_texts_that_a_modelfile_cannot_hold_are_refused_before_the_training(tmp_path: Path) -> None:
    left(tmp_path)
    with pytest.raises(FrameworkError, match=r"format\.system_prompt: a Modelfile cannot hold the character"):
        plan(tmp_path, "stages=[export]", 'format.system_prompt="a\u200bb"')
    with pytest.raises(FrameworkError, match=r"exporter\.ollama\.license: a Modelfile cannot hold three quotes"):
        plan(tmp_path, "stages=[export]", 'exporter.ollama.license="MIT\\"\\"\\"\nx"')


def test_without_the_export_stage_nothing_is_needed(tmp_path: Path) -> None:
    plan(tmp_path, "stages=[data,train]")


def test_a_folder_of_another_exporter_is_refused(tmp_path: Path) -> None:
    left(tmp_path)
    with pytest.raises(FrameworkError, match=r"exporter.ollama.folder=adapter is also that of exporter.adapter"):
        plan(tmp_path, "stages=[export]", "exporter=[adapter,ollama]", "exporter.ollama.folder=adapter")


def test_a_folder_outside_of_the_run_is_refused(tmp_path: Path) -> None:
    left(tmp_path)
    with pytest.raises(FrameworkError, match=r"exporter.ollama.folder=a/b must be one plain name"):
        plan(tmp_path, "stages=[export]", "exporter.ollama.folder=a/b")


@pytest.mark.parametrize(
    ("quantization", "told"),
    [
        (None, []),
        ("Q8_0", []),
        (
            "q4_k_s",
            [
                "exporter.ollama.quantization=q4_k_s: unknown quantization of exporter.gguf 'q4_k_s'. "
                "Did you mean 'q4_k_m'? Valid: q4_k_m, q8_0."
            ],
        ),
    ],
)
def test_a_quantization_that_will_not_be_made_is_refused(
    tmp_path: Path, quantization: str | None, told: list[str]
) -> None:
    makes = GgufExporterConfig(quantizations=["Q4_K_M", "q8_0"])
    maker = Selection(Component("gguf", GgufExporterConfig, "acme:Maker"), makes)
    settings = OllamaExporterConfig(quantization=quantization)
    writer = Selection(Component("ollama", OllamaExporterConfig, "acme:Writer"), settings)
    chosen = dataclasses.replace(testing.plan([], run_dir=tmp_path), exporter={"gguf": maker, "ollama": writer})
    assert [problem.text for problem in problems(chosen, ())] == told


def test_it_comes_after_what_makes_the_file() -> None:
    writer, maker = OllamaExporter(OllamaExporterConfig()), AdapterExporter(AdapterExporterConfig())
    assert in_order({"ollama": writer, "gguf": maker}) == ["gguf", "ollama"]


def test_instructions_are_read_back_and_comments_stay_on_their_line() -> None:
    instructions = [
        ("FROM", "../gguf/my model-Q4_K_M.gguf"),
        ("REQUIRES", "0.30.11"),
        ("SYSTEM", 'Say "hello"'),
        ("PARAMETER stop", "<|im_end|>"),
        ("PARAMETER stop", "### "),
        ("PARAMETER num_ctx", "2048"),
        ("LICENSE", "Apache License\n   Version 2.0\n"),
    ]
    written = render_modelfile(["two\nlines", "FROM nothing"], instructions)
    assert written.startswith('# two lines\n# FROM nothing\nFROM "../gguf/my model-Q4_K_M.gguf"\n')
    assert parsed(written) == instructions


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("../gguf/orders-Q4_K_M.gguf", "../gguf/orders-Q4_K_M.gguf"),
        ("a b", '"a b"'),
        ("a\nb", '"a\nb"'),
        ("", '""'),
        (" a", '" a"'),
        ('"', '"""""""'),
        ('say "a"', '"""say "a""""'),
        ('"""a', '""""""a"""'),
        ("#a", '"#a"'),
    ],
)
def test_quotes_are_put_where_they_are_needed(value: str, quoted: str) -> None:
    assert quote(value) == quoted
    assert parsed(f"SYSTEM {quoted}\nFROM x\n") == [("SYSTEM", value), ("FROM", "x")]


@pytest.mark.parametrize("value", ['a"""\nb', 'a""" \r\nb', '"""\n'])
def test_a_value_that_would_end_at_one_of_its_lines_is_refused(value: str) -> None:
    with pytest.raises(QuotingError, match=re.escape('three quotes (""") at the end of a line')):
        quote(value)


@pytest.mark.parametrize(("value", "shown"), [("a\u200bb", r"'\u200b'"), ("a\u00a0", r"'\xa0'"), ("\x00", r"'\x00'")])
def test_a_character_that_would_be_dropped_is_refused(value: str, shown: str) -> None:
    with pytest.raises(QuotingError, match=re.escape(shown)):
        quote(value)


PIECES = st.sampled_from(['"', '""', '"""', "\n", "\r", " ", "\t", "a", "#", "FROM x", "é", "\u200b", "}}"])


@given(st.lists(PIECES, max_size=8).map("".join))
def test_every_value_is_refused_or_read_back(value: str) -> None:
    try:
        written = render_modelfile([], [("SYSTEM", value), ("FROM", "x")])
    except QuotingError:
        return
    assert parsed(written) == [("SYSTEM", value), ("FROM", "x")]
