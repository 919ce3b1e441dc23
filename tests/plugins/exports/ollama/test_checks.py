"""A Modelfile for a GGUF file that nothing makes is refused before anything is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from framework import Component, testing
from framework.api import records
from framework.api.plan import Selection
from framework.api.records import Artifact, ExportResult, Origin
from framework.run.export import in_order
from framework.util.errors import FrameworkError
from framework_plugins.exports.adapter import AdapterExporter
from framework_plugins.exports.config import AdapterExporterConfig, GgufExporterConfig, OllamaExporterConfig
from framework_plugins.exports.ollama.checks import problems
from framework_plugins.exports.ollama.exporter import OllamaExporter

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
    assert list(problems(chosen, ())) == told


def test_it_comes_after_what_makes_the_file() -> None:
    writer, maker = OllamaExporter(OllamaExporterConfig()), AdapterExporter(AdapterExporterConfig())
    assert in_order({"ollama": writer, "gguf": maker}) == ["gguf", "ollama"]
