"""What is pushed, where to, and what is said when the Hub will not have it; against a stand-in on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api.protocols import ExportContext
from framework.api.records import Artifact
from framework.api.training import ModelPlace
from framework.run import pipeline
from framework.testing.echo import EchoSource
from framework.util.errors import FrameworkError
from framework_plugins.exports.config import PushExporterConfig
from framework_plugins.exports.hub.push import PushExporter
from framework_plugins.lib.network import reachable
from tests.support.uploads import Repository, UploadStandIn

ME, OTHER = "hf_" + "mine" * 8, "hf_" + "else" * 8
WEIGHTS = bytes(range(256)) * 100


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadStandIn]:
    """Serve a Hub on which `me` is logged in."""
    from huggingface_hub import constants

    with UploadStandIn({ME: "me", OTHER: "other"}) as stand_in:
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", ME)
        yield stand_in


def context(run_dir: Path, *more: str, base: str = "owner/base") -> ExportContext:
    """Return a run folder with an adapter and two GGUF files."""
    for name, content in {
        "adapter/adapter_model.safetensors": WEIGHTS,
        "adapter/adapter_config.json": json.dumps({"base_model_name_or_path": base, "r": 4}).encode(),
        "adapter/README.md": b"---\nlicense: mit\n---\n\n# adapter\n",
        "adapter/run_config.json": b'{"data": "/home/me/secret.jsonl"}',
        "gguf/run-Q8_0.gguf": WEIGHTS[:500],
        "gguf/run-F16.gguf": WEIGHTS[500:900],
        "gguf/README.md": b"# gguf\n",
    }.items():
        file = run_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    plan = testing.plan(["exporter=[adapter,model_card]", *more], run_dir=run_dir)
    made = [
        Artifact("adapter", "adapter", 1),
        Artifact("gguf", "gguf/run-Q8_0.gguf", 500),
        Artifact("gguf", "gguf/run-F16.gguf", 400),
    ]
    return ExportContext(run_dir, run_dir / "checkpoint", plan.config, plan, made)


def push(context: ExportContext, **settings: Any) -> dict[str, Any]:
    """Push and return what is recorded."""
    config = PushExporterConfig(**({"repo_id": "me/tuned"} | settings))
    (artifact,) = PushExporter(config).export(testing.EchoModel(context.plan), context)
    assert (artifact.kind, artifact.path) == ("push", "push.json")
    record: dict[str, Any] = json.loads((context.run_dir / "push.json").read_text(encoding="utf-8"))
    return record


def refusal(context: ExportContext, **settings: Any) -> str:
    with pytest.raises(FrameworkError) as caught:
        push(context, **settings)
    assert len(str(caught.value).splitlines()) == 1
    assert not (context.run_dir / "push.json").exists()
    return str(caught.value)


def test_one_kind_lies_at_the_top_of_a_private_repository(hub: UploadStandIn, tmp_path: Path) -> None:
    record = push(context(tmp_path))
    made = hub.repositories["me/tuned"]
    assert made.private
    assert made.files.keys() == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert made.files["adapter_model.safetensors"] == WEIGHTS
    assert record["commit"].startswith(f"{hub.url}/me/tuned/commit/")
    assert record["files"] == {path: len(content) for path, content in made.files.items()}


def test_several_kinds_keep_their_folders_and_the_first_has_the_card(hub: UploadStandIn, tmp_path: Path) -> None:
    push(context(tmp_path), what=["gguf", "adapter"], private=False)
    made = hub.repositories["me/tuned"]
    assert not made.private
    folders = {"gguf/run-Q8_0.gguf", "gguf/run-F16.gguf", "gguf/README.md"}
    adapter = {f"adapter/{name}" for name in ("adapter_model.safetensors", "adapter_config.json", "README.md")}
    assert made.files.keys() == {"README.md"} | folders | adapter
    assert made.files["README.md"] == b"# gguf\n"
    assert len(made.commits) == 1


def test_all_files_of_one_kind_are_pushed(hub: UploadStandIn, tmp_path: Path) -> None:
    push(context(tmp_path), what=["gguf"])
    assert hub.repositories["me/tuned"].files.keys() == {"run-Q8_0.gguf", "run-F16.gguf", "README.md"}


def test_a_dry_run_shows_the_files_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    record = push(context(tmp_path), dry_run=True)
    printed = capsys.readouterr().out
    assert "would be pushed to me/tuned" in printed
    assert "  adapter_model.safetensors  0.03 MB" in printed
    assert (record["dry_run"], record["commit"]) == (True, "")


def test_a_second_push_goes_on_top(hub: UploadStandIn, tmp_path: Path) -> None:
    push(context(tmp_path))
    push(context(tmp_path), what=["gguf"])
    assert hub.repositories["me/tuned"].commits == ["Add adapter", "Add gguf"]


def test_a_public_repository_is_pushed_into_only_when_that_was_said(hub: UploadStandIn, tmp_path: Path) -> None:
    hub.repositories["me/tuned"] = Repository("me", private=False, files={"README.md": b"known to many"})
    assert "already exists and is public: set exporter.push.private=false" in refusal(context(tmp_path))
    assert hub.repositories["me/tuned"].files == {"README.md": b"known to many"}
    push(context(tmp_path), private=False)
    assert len(hub.repositories["me/tuned"].files) == 3


@pytest.mark.parametrize("private", [True, False])
def test_somebody_elses_repository_is_refused(hub: UploadStandIn, tmp_path: Path, *, private: bool) -> None:
    hub.repositories["other/tuned"] = Repository("other", private=private)
    said = refusal(context(tmp_path), repo_id="other/tuned", private=False)
    assert "exporter.push.repo_id=other/tuned: the repository or its owner's name belongs to someone else" in said
    assert f"Nothing was lost: {tmp_path} has all exports, and `python -m framework stages=[export]" in said
    assert not hub.repositories["other/tuned"].files


def test_a_token_that_the_hub_does_not_know_is_named(
    hub: UploadStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "nobody" * 6)
    assert "the Hub does not accept the token: log in with `hf auth login`, or set HF_TOKEN" in refusal(
        context(tmp_path)
    )
    assert not hub.repositories


def test_without_a_token_nothing_is_asked(hub: UploadStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert "there is no token" in refusal(context(tmp_path))
    assert not hub.repositories


def test_without_a_network_it_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", ME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    reachable.cache_clear()
    assert "http://127.0.0.1:9 cannot be reached" in refusal(context(tmp_path))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/models/me/tuned/commit", "the Hub refuses (400: broken)"),
        ("/lfs", "the upload was interrupted (BadRequestError"),
    ],
)
def test_an_upload_that_breaks_off_leaves_the_repository_as_it_was(
    path: str, said: str, hub: UploadStandIn, tmp_path: Path
) -> None:
    hub.repositories["me/tuned"] = Repository("me", private=True, files={"README.md": b"before"})
    hub.broken = path
    assert said in refusal(context(tmp_path))
    assert hub.repositories["me/tuned"].files == {"README.md": b"before"}


def test_an_adapter_on_a_folder_of_this_machine_names_its_base_by_an_id(hub: UploadStandIn, tmp_path: Path) -> None:
    local = str(tmp_path / "models" / "base")
    assert "set exporter.model_card.base_model=owner/name" in refusal(context(tmp_path, base=local))
    push(context(tmp_path, "exporter.model_card.base_model=owner/base", base=local))
    settings = json.loads(hub.repositories["me/tuned"].files["adapter_config.json"])
    assert settings == {"base_model_name_or_path": "owner/base", "r": 4, "revision": None}
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == local


def test_a_push_again_takes_the_base_from_the_card_of_the_first_export(hub: UploadStandIn, tmp_path: Path) -> None:
    exported = context(tmp_path, base=str(tmp_path / "models" / "base"))
    (tmp_path / "adapter" / "README.md").write_text("---\nlicense: mit\nbase_model: owner/base\n---\n\n# adapter\n")
    PushExporter(PushExporterConfig("me/tuned")).check(
        testing.EchoModel(exported.plan), testing.plan(["stages=[export]"], run_dir=tmp_path)
    )
    push(exported)
    settings = json.loads(hub.repositories["me/tuned"].files["adapter_config.json"])
    assert settings["base_model_name_or_path"] == "owner/base"


@pytest.mark.parametrize(
    "place", [ModelPlace(Path("base"), "/models/base", copy_of="owner/base"), ModelPlace(Path("base"), "owner/base")]
)
def test_a_base_that_is_on_the_hub_needs_no_setting(
    hub: UploadStandIn, place: ModelPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = context(tmp_path, base="/models/base")
    monkeypatch.setattr(EchoSource, "fetch", lambda *_, **__: place)
    PushExporter(PushExporterConfig("me/tuned")).check(testing.EchoModel(exported.plan), exported.plan)
    push(exported)
    settings = json.loads(hub.repositories["me/tuned"].files["adapter_config.json"])
    assert settings["base_model_name_or_path"] == "owner/base"


def test_the_base_of_an_adapter_is_asked_for_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoSource, "fetch", lambda *_, **__: ModelPlace(tmp_path, str(tmp_path)))
    (tmp_path / "rows.jsonl").write_text('{"instruction": "say", "output": "this"}\n' * 3)
    words = ["exporter=[adapter,push]", "exporter.push.repo_id=me/tuned", "exporter.push.dry_run=true"]
    words += ["data=local_file", f"data.path={tmp_path / 'rows.jsonl'}", "evaluator=[]", "data.validation_split=0"]
    plan = testing.plan([*words, "objective=train_loss"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=r"^exporter\.push: the adapter names a folder of this machine") as caught:
        pipeline.run(plan)
    assert "set exporter=[adapter,model_card,push] and exporter.model_card.base_model=owner/name" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_was_not_exported_cannot_be_pushed(tmp_path: Path) -> None:
    assert "exporter.push.what=merged: nothing of that kind was exported" in refusal(context(tmp_path), what=["merged"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exporter.push.repo_id=tuned"], "exporter.push.repo_id"),
        (["exporter.push.repo_id=me/a--b"], "exporter.push.repo_id"),
        (["exporter.push.what=[adaptr]"], "Did you mean 'adapter'?"),
        (["exporter.push.what=[merged]"], "unknown exporter of this run 'merged'"),
        ([], "exporter.push needs a Hub token"),
        (["model=local", "model.path=.", "trainer=hf"], "exporter.push: the adapter names a folder of this machine"),
    ],
)
def test_what_cannot_succeed_is_reported_before_training(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    given = [] if any("repo_id" in word for word in words) else ["exporter.push.repo_id=me/tuned"]
    with pytest.raises(FrameworkError) as caught:
        testing.plan(["exporter=[adapter,push]", *given, *words], run_dir=tmp_path)
    assert said in str(caught.value)
