"""The adapter exporter writes one complete folder, replaced as a whole."""

import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework import FrameworkError, testing
from framework.api.protocols import ExportContext
from framework.api.records import Artifact
from framework_plugins.exports.adapter import AdapterExporter
from framework_plugins.exports.config import AdapterExporterConfig

SECRET = "open-sesame"  # noqa: S105 - planted


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExportContext:
    """Return a run folder with a checkpoint, of a plan with a secret in it."""
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    plan = testing.plan([f"name={SECRET}"], run_dir=tmp_path)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
    (checkpoint / "adapter_config.json").write_text("{}", encoding="utf-8")
    return ExportContext(tmp_path, checkpoint, plan.config, plan)


def export(context: ExportContext, folder: str = "adapter") -> list[Artifact]:
    plan = testing.plan([], run_dir=context.run_dir)
    return AdapterExporter(AdapterExporterConfig(folder=folder)).export(testing.EchoModel(plan), context)


def test_the_folder_holds_weights_tokenizer_and_config_without_secrets(context: ExportContext) -> None:
    (artifact,) = export(context, "lora")
    folder = context.run_dir / "lora"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files.keys() == {"adapter_model.safetensors", "adapter_config.json", "words.json", "run_config.json"}
    assert artifact == Artifact("adapter", "lora", sum(map(len, files.values())))
    assert json.loads(files["run_config.json"])["trainer"]["learning_rate"] == 2e-4
    assert SECRET.encode() not in b"".join(files.values())


def test_weights_share_the_checkpoints_disk_space_and_small_files_do_not(context: ExportContext) -> None:
    export(context)
    shared = {
        path.name: path.samefile(context.checkpoint / path.name)
        for path in (context.run_dir / "adapter").glob("adapter_*")
    }
    assert shared == {"adapter_model.safetensors": True, "adapter_config.json": False}


def test_an_earlier_export_is_replaced_as_a_whole(context: ExportContext) -> None:
    export(context)
    for name in ("adapter", "adapter.part"):
        (context.run_dir / name).mkdir(exist_ok=True)
        (context.run_dir / name / "stale.bin").touch()
    export(context)
    assert not list(context.run_dir.rglob("stale.bin"))
    assert not (context.run_dir / "adapter.part").exists()


def test_an_export_that_fails_leaves_the_earlier_one(context: ExportContext) -> None:
    export(context)
    broken = ExportContext(context.run_dir, context.run_dir / "missing", context.config, context.plan)
    with pytest.raises(FrameworkError, match="is not a folder with trained weights"):
        export(broken)
    assert (context.run_dir / "adapter" / "adapter_model.safetensors").read_bytes() == b"weights"


def test_weights_that_bring_a_tokenizer_keep_it_and_what_a_training_left_beside_them_stays_there(
    context: ExportContext,
) -> None:
    (context.checkpoint / "checkpoint-500").mkdir()
    for name in ("tokenizer_config.json", "optimizer.pt", "README.md", "training_args.bin", "checkpoint-500/rng.pth"):
        (context.checkpoint / name).write_text("theirs", encoding="utf-8")
    export(context)
    files = {path.name: path.read_bytes() for path in (context.run_dir / "adapter").iterdir()}
    weights = {"adapter_model.safetensors", "adapter_config.json"}
    assert files.keys() == weights | {"tokenizer_config.json", "run_config.json"}
    assert files["tokenizer_config.json"] == b"theirs"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")  # noqa: S108 - no secret
def test_a_full_disk_is_seen_before_weights_are_copied_to_it(
    context: ExportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    export(context)  # on its own disk it is linked
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        elsewhere = ExportContext(Path(folder), context.checkpoint, context.config, context.plan)
        with pytest.raises(FrameworkError, match=r"adapter needs 0\.00 GB, and 0\.00 are free: make room"):
            export(elsewhere)
        assert not list(Path(folder).iterdir())


def test_the_chat_template_holds_the_switches_of_the_run(context: ExportContext) -> None:
    for name, text in {"tokenizer_config.json": "{}", "chat_template.jinja": "{{ thinking }}"}.items():
        (context.checkpoint / name).write_text(text, encoding="utf-8")
    plan = testing.plan(["model.chat_template_kwargs={thinking: false}"], run_dir=context.run_dir)
    export(ExportContext(context.run_dir, context.checkpoint, plan.config, plan))
    made = (context.run_dir / "adapter" / "chat_template.jinja").read_text(encoding="utf-8")
    assert made == "{%- set thinking = thinking if thinking is defined else false -%}{{ thinking }}"
    assert (context.checkpoint / "chat_template.jinja").read_text(encoding="utf-8") == "{{ thinking }}"


def test_a_folder_that_no_exporter_made_is_left_alone(context: ExportContext) -> None:
    (context.run_dir / "adapter").mkdir()
    (context.run_dir / "adapter" / "thesis.tex").touch()
    with pytest.raises(FrameworkError, match="no exporter made it"):
        export(context)
    assert (context.run_dir / "adapter" / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["notes.txt", "more.safetensors", "below"])
def test_a_checkpoint_that_links_to_private_files_is_not_copied(context: ExportContext, name: str) -> None:
    private = context.run_dir / "private"
    private.mkdir()
    (private / "key").write_text(SECRET, encoding="utf-8")
    (context.checkpoint / name).symlink_to(private if name == "below" else private / "key")
    with pytest.raises(FrameworkError, match=f"checkpoint: {name} is a link to .*private.*, outside of the folder"):
        export(context)
    assert not (context.run_dir / "adapter").exists()
