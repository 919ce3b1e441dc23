"""The card says what the run was, reads well, and is one that the Hub takes; no path and no secret is in it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from framework import testing
from framework.api import records
from framework.api.plan import Plan
from framework.api.protocols import ExportContext, ModelPlace
from framework.api.records import Artifact, DataResult, EvalResult, ExportResult, Report, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.hooks.session import current
from framework.run import pipeline
from framework.run.report import make_report
from framework_plugins.exports.config import ModelCardExporterConfig
from framework_plugins.exports.hub.model_card import ModelCardExporter, base_license

SECRET = "open-sesame-of-the-card"  # noqa: S105 - planted


@pytest.fixture
def plan(tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Run all stages but the export, and return the plan of it."""
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    words = [
        "data=local_file",
        f"data.path={data_file}",
        f"data.prompts_path={data_file}",
        "exporter=[]",
        "audit=[]",  # the prompts are training rows, and the verdict would leave them out
        "name=orders",
    ]
    stages = "stages=[plan,data,baseline,train,evaluate]"
    pipeline.run(testing.plan([*words, stages, f"data.validation_path={data_file}"], run_dir=tmp_path))
    return testing.plan(words, run_dir=tmp_path)


def draft(plan: Plan, model: testing.EchoModel) -> Report:
    """Return the report as an export finds it."""
    folder = RunFolder(plan.run_dir)
    before, after = (folder.load_result(stage, EvalResult) for stage in (Stage.baseline, Stage.evaluate))
    data, trained = folder.load_result(Stage.data, DataResult), folder.load_result(Stage.train, TrainResult)
    return make_report(plan, model.facts, {}, data, before, trained, after, None, current().plugins)


def write(plan: Plan, artifacts: Mapping[str, str], parity: Mapping[str, str] = {}, **settings: Any) -> dict[str, str]:
    """Write the cards beside artifacts, kinds by paths, and return their texts by path."""
    made = []
    for path, kind in artifacts.items():
        place = plan.run_dir / path
        (place if "." not in path and kind != "ollama" else place.parent).mkdir(parents=True, exist_ok=True)
        if not place.is_dir():
            place.touch()
        made.append(Artifact(kind, path, 0, parity=parity.get(path, "")))
    (plan.checkpoint / "adapter_config.json").write_text(
        json.dumps({"r": 16, "lora_alpha": 32, "use_dora": False, "base_model_name_or_path": "/home/me/base"}), "utf-8"
    )
    model = testing.EchoModel(plan)
    context = ExportContext(plan.run_dir, plan.checkpoint, plan.config, plan, made, report=lambda: draft(plan, model))
    cards = ModelCardExporter(ModelCardExporterConfig(**settings)).export(model, context)
    assert all(card.bytes == (plan.run_dir / card.path).stat().st_size for card in cards)
    return {card.path: (plan.run_dir / card.path).read_text(encoding="utf-8") for card in cards}


def test_a_name_is_no_markup(plan: Plan) -> None:
    named = dataclasses.replace(plan.settings, name="<img src=x> [a](b)")
    card = write(dataclasses.replace(plan, settings=named), {"adapter": "adapter"})["adapter/README.md"]
    assert "\n# \\<img src=x\\> \\[a\\](b)\n" in card


def test_the_card_shows_answers_whatever_stands_in_them(plan: Plan) -> None:
    folder = RunFolder(plan.run_dir)
    after = folder.load_result(Stage.evaluate, EvalResult)
    assert after is not None
    first = dataclasses.replace(after.samples[0], answer=f"```\nno {SECRET}\n````")
    records.save(dataclasses.replace(after, samples=[first, *after.samples[1:]]), folder.file("evaluate"))
    text = write(plan, {"adapter": "adapter"}, answers=2)["adapter/README.md"]
    answers = text.partition("## Answers\n")[2].partition("\n## Use")[0]
    assert answers.count("Prompt:") == answers.count("Base:") == answers.count("Fine-tuned:") == 2
    assert "`````text\n```\nno (hidden)\n````\n`````" in answers
    assert SECRET not in text
    assert "## Answers" not in write(plan, {"adapter": "adapter"}, answers=0)["adapter/README.md"]


def test_the_base_of_a_copy_is_the_model_that_it_is_a_copy_of(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = ModelPlace(tmp_path, str(tmp_path), copy_of="acme/base", license="apache-2.0")
    monkeypatch.setattr(testing.echo.EchoSource, "fetch", lambda *_, **__: place)
    write(plan, {"adapter": "adapter"})
    data = metadata_load(plan.run_dir / "adapter" / "README.md")
    assert data is not None
    assert (data["base_model"], data["license"]) == ("acme/base", "apache-2.0")


def test_each_folder_has_a_card_that_says_what_lies_there_and_how_to_use_it(plan: Plan) -> None:
    cards = write(
        plan,
        {
            "adapter": "adapter",
            "merged": "merged",
            "gguf/orders-Q8_0.gguf": "gguf",
            "gguf/orders-F16.gguf": "gguf",
            "gguf_adapter/orders-LoRA.gguf": "gguf_adapter",
            "ollama/Modelfile": "ollama",
        },
        base_model="owner/base",
    )
    assert list(cards) == [f"{name}/README.md" for name in ("adapter", "merged", "gguf", "gguf_adapter", "ollama")]
    for text in cards.values():
        for heading in ("Results", "Use", "Training", "Licence", "Versions"):
            assert f"\n## {heading}\n" in text
        assert "\n\n\n" not in text
    assert "PeftModel.from_pretrained(base, folder)" in cards["adapter/README.md"]
    assert 'from_pretrained("owner/base"' in cards["adapter/README.md"]
    assert "AutoModelForCausalLM.from_pretrained(folder" in cards["merged/README.md"]
    assert "llama-cli -m orders-Q8_0.gguf -cnv" in cards["gguf/README.md"]
    assert "llama-cli -m orders-F16.gguf -cnv" in cards["gguf/README.md"]
    assert "--lora orders-LoRA.gguf" in cards["gguf_adapter/README.md"]
    assert "ollama create orders -f Modelfile\nollama run orders" in cards["ollama/README.md"]


def test_the_metadata_are_what_the_hub_reads(plan: Plan) -> None:
    artifacts = {"adapter": "adapter", "merged": "merged", "gguf/a.gguf": "gguf"}
    cards = write(plan, artifacts, base_model="owner/base", license="apache-2.0", datasets=["owner/data"])
    said = {path: metadata_load(str(plan.run_dir / path)) for path in cards}
    assert said["adapter/README.md"] == {
        "base_model": "owner/base",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "datasets": ["owner/data"],
        "tags": ["adapter", "sft"],
    }
    relations = {path: (data.get("library_name"), data["base_model_relation"]) for path, data in said.items()}
    assert relations["merged/README.md"] == ("transformers", "finetune")
    assert relations["gguf/README.md"] == (None, "quantized")
    for text in cards.values():
        assert ModelCard(text).data.base_model == "owner/base"


def test_what_is_not_known_is_left_out(plan: Plan) -> None:
    (text,) = write(plan, {"adapter": "adapter"}).values()
    assert metadata_load(str(plan.run_dir / "adapter" / "README.md")).keys() == {"library_name", "pipeline_tag", "tags"}
    assert "Not stated. A derived model is bound by the license of its base." in text


def test_data_settings_and_results_are_those_of_the_run(plan: Plan) -> None:
    (text,) = write(plan, {"adapter": "adapter"}).values()
    data = json.loads((plan.run_dir / "data.json").read_text(encoding="utf-8"))
    assert f"| rows | {data['train_rows']:,} to train" in text
    assert f"| fingerprint | `{data['fingerprint']}` |" in text
    assert "| format | alpaca |" in text
    assert "| source | local_file: rows.jsonl |" in text
    for line in ("| adapter.r | 16 |", "| trainer.learning_rate | 0.0002 |", f"| seed | {plan.seed} |"):
        assert line in text
    assert "adapter.use_dora" not in text
    after = json.loads((plan.run_dir / "evaluate.json").read_text(encoding="utf-8"))
    assert after["measures"]["exact_match"]["value"] == 1
    assert "| exact_match | 20 | 0% | 100% | +72 to +100 points | better |" in text
    assert "differences with their 95% interval" in text
    assert "- gained: " in text


def test_how_far_each_file_agrees_with_the_trained_model_is_on_the_card(plan: Plan) -> None:
    files = {"gguf/a.gguf": "gguf", "gguf/b.gguf": "gguf", "adapter": "adapter"}
    cards = write(plan, files, {"gguf/a.gguf": "KL 0.05", "gguf/b.gguf": "KL 0.01"})
    assert (
        "\n\n## Compared with the trained model\n\n- `a.gguf`: KL 0.05\n- `b.gguf`: KL 0.01\n\n## Training\n"
        in cards["gguf/README.md"]
    )
    assert "Compared" not in cards["adapter/README.md"]


def test_no_path_of_this_machine_and_no_secret_is_reported(plan: Plan) -> None:
    plan = testing.plan([*plan.overrides[3:], f"name={SECRET}"], run_dir=plan.run_dir)
    for text in write(plan, {"adapter": "adapter", "ollama/Modelfile": "ollama"}).values():
        assert SECRET not in text
        assert str(plan.run_dir) not in text
        assert "/home/" not in text


def test_without_other_exports_the_card_is_of_the_run(plan: Plan) -> None:
    assert list(write(plan, {})) == ["README.md"]


def test_weights_that_were_trained_elsewhere_are_not_said_to_be_of_this_run(plan: Plan, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(plan.checkpoint, other)
    (other / "adapter_config.json").write_text('{"r": 16, "lora_alpha": 32}', encoding="utf-8")
    words = [*plan.overrides[3:], f"checkpoint={other}", "stages=[export]", "exporter=[adapter,model_card]"]
    pipeline.run(testing.plan(words, run_dir=plan.run_dir))
    text = (plan.run_dir / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "The weights were trained elsewhere" in text
    assert "| adapter.r | 16 |" in text
    for word in ("trainer.learning_rate", "fingerprint", "steps"):
        assert word not in text


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: llama3.1\n---\n# Base\n", "llama3.1"),
        ("---\nlicense: other\nlicense_name: acme-1\n---\n# Base\n", "acme-1"),
        ("# Base without metadata\n", ""),
        ("---\nlicense: [\n---\n", ""),
        (None, ""),
    ],
)
def test_the_license_is_that_of_the_base_by_its_card(card: str | None, said: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert base_license(ModelPlace(tmp_path, str(tmp_path)), "") == said


def test_several_exporters_in_one_run_go_in_the_order_of_their_needs(tmp_path: Path, data_file: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "exporter=[push,model_card,adapter]"]
    push = ["exporter.push.repo_id=me/tuned", "exporter.push.dry_run=true", "stages=[data,train,export]"]
    pipeline.run(testing.plan([*words, *push], run_dir=tmp_path))
    artifacts = records.load(ExportResult, tmp_path / "export.json").artifacts
    assert [artifact.kind for artifact in artifacts] == ["adapter", "model_card", "push"]
    pushed = json.loads((tmp_path / "push.json").read_text(encoding="utf-8"))["files"]
    assert "README.md" in pushed
    assert "run_config.json" not in pushed
