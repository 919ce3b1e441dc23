"""Exports in a run: of a finished run, of an adapter that lies elsewhere, and where one of them fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api import records
from framework.api.plan import Plan
from framework.api.records import ExportResult
from framework.run import pipeline
from framework.util.errors import FrameworkError
from framework_plugins.exports.merge import merging
from tests.support.bases import adapted, tiny_base
from tests.support.tiny import chat_rows, tiny_chatml
from tests.support.training import make
from tests.support.uploads import UploadStandIn


def artifacts(run_dir: Path) -> list[tuple[str, str]]:
    made = records.load(ExportResult, run_dir / "export.json").artifacts
    return [(artifact.kind, artifact.path) for artifact in made]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_finished_run_and_an_adapter_that_lies_elsewhere_are_exported_alike(
    tmp_path: Path, write_rows: Callable[[list[dict[str, str]]], Path]
) -> None:
    import torch

    base, rows = tiny_chatml(tmp_path / "base"), write_rows(chat_rows(12))
    trained, other = tmp_path / "trained", tmp_path / "other"
    pipeline.run(make(base, rows, trained, "adapter=dora", "stages=[data,train]"))
    exporters = "exporter=[merged,adapter]"
    pipeline.run(make(base, rows, trained, "adapter=dora", "stages=[export]", exporters))
    assert artifacts(trained) == [("merged", "merged"), ("adapter", "adapter")]
    # The plan says another adapter than the one that is there: its own settings count.
    elsewhere = [f"checkpoint={trained / 'adapter'}", "stages=[export]", exporters]
    pipeline.run(make(base, rows, other, *elsewhere))
    assert artifacts(other) == artifacts(trained)
    first, second = weights(trained / "merged"), weights(other / "merged")
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    changed = [name for name, weight in weights(base).items() if not torch.equal(weight, first[name])]
    assert len(changed) == 14  # seven linear layers in each of two layers
    assert {path.name for path in (other / "adapter").iterdir()} == {
        path.name for path in (trained / "adapter").iterdir()
    }


def test_a_model_trained_whole_is_exported_with_what_it_needs(
    tmp_path: Path, write_rows: Callable[[list[dict[str, str]]], Path]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, rows = tiny_chatml(tmp_path / "base"), write_rows(chat_rows(12))
    stages = "stages=[data,train,export]"
    pipeline.run(make(base, rows, tmp_path / "run", "adapter=full", stages, "exporter=[merged]"))
    first, second = weights(tmp_path / "run" / "checkpoint"), weights(tmp_path / "run" / "merged")
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "merged").generation_config.eos_token_id
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "merged").chat_template


@pytest.mark.filterwarnings("ignore:.*base_model_name_or_path.*was renamed:UserWarning")
def test_an_adapter_of_another_base_is_refused_and_leaves_no_export(
    tmp_path: Path, write_rows: Callable[[list[dict[str, str]]], Path]
) -> None:
    base, rows = tiny_chatml(tmp_path / "base"), write_rows(chat_rows(12))
    adapted(tiny_base(tmp_path / "another", "llama"), tmp_path / "adapter")
    words = [f"checkpoint={tmp_path / 'adapter'}", "stages=[export]", "exporter=[merged]"]
    with pytest.raises(FrameworkError):
        pipeline.run(make(base, rows, tmp_path / "run", *words))
    assert not (tmp_path / "run" / "merged").exists()


def test_an_exporter_that_fails_leaves_what_the_others_made(
    tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from framework_plugins.lib.network import reachable

    monkeypatch.setenv("HF_TOKEN", "hf_" + "mine" * 8)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    reachable.cache_clear()
    words = ["data=local_file", f"data.path={data_file}", "exporter=[push,model_card,adapter]"]
    plan = testing.plan([*words, "exporter.push.repo_id=me/tuned"], run_dir=tmp_path)
    with pytest.raises(FrameworkError, match="cannot be reached"):
        pipeline.run(plan)
    assert artifacts(tmp_path) == [("adapter", "adapter"), ("model_card", "adapter/README.md")]
    assert (tmp_path / "adapter" / "echo.json").is_file()
    assert json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["state"] == "failed"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadStandIn]:
    """Serve a Hub on which `me` is logged in."""
    from huggingface_hub import constants

    from framework_plugins.lib.network import reachable

    token = "hf_" + "mine" * 8
    with UploadStandIn({token: "me"}) as stand_in:
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", token)
        reachable.cache_clear()
        yield stand_in
    reachable.cache_clear()


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return where something was merged so far."""
    from framework_plugins.exports.merge import exporter

    merges: list[Path] = []

    def counted(plan: Plan, checkpoint: Path, target: Path, **more: Any) -> None:
        merges.append(target)
        merging.merge(plan, checkpoint, target, **more)

    monkeypatch.setattr(exporter, "merge", counted)
    return merges


def test_after_a_push_that_failed_nothing_is_merged_again(
    tmp_path: Path,
    write_rows: Callable[[list[dict[str, str]]], Path],
    hub: UploadStandIn,
    merges: list[Path],
) -> None:
    base, rows, run = tiny_chatml(tmp_path / "base"), write_rows(chat_rows(12)), tmp_path / "run"
    push = ["exporter.push.repo_id=me/tuned", "exporter.push.what=[merged]"]
    words = ["exporter=[push,model_card,merged,adapter]", "exporter.model_card.base_model=me/base", *push]
    hub.broken = "/api/models/me/tuned/commit"
    with pytest.raises(
        FrameworkError, match=r"the Hub refuses \(400: broken\)\. Nothing was lost: .*stages=\[export\]"
    ):
        pipeline.run(make(base, rows, run, "stages=[data,train,export]", *words))
    assert not (run / "push.json").exists()
    kept = [
        ("merged", "merged"),
        ("adapter", "adapter"),
        *(("model_card", f"{name}/README.md") for name in ("merged", "adapter")),
    ]
    assert artifacts(run) == kept

    hub.broken = ""
    before = (run / "merged" / "model.safetensors").stat().st_mtime_ns
    pipeline.run(make(base, rows, run, "stages=[export]", *words))  # the same again
    assert set(hub.repositories["me/tuned"].files) >= {"model.safetensors", "README.md", "config.json"}
    assert artifacts(run) == [*kept, ("push", "push.json")]
    pipeline.run(make(base, rows, run, "stages=[export]", "exporter=[push]", *push))  # the push alone
    assert hub.repositories["me/tuned"].commits == ["Add merged", "Add merged"]
    assert set(artifacts(run)) == {*kept, ("push", "push.json")}
    assert len(merges) == 1
    assert (run / "merged" / "model.safetensors").stat().st_mtime_ns == before
    made = {each.path: each for each in records.load(ExportResult, run / "export.json").artifacts}
    for name in ("merged", "adapter"):
        assert made[name].bytes == sum(file.stat().st_size for file in (run / name).iterdir())  # the card too
    assert made["merged"].notes[-1] == "kept from an earlier export of the same weights with the same settings"


def test_what_is_damaged_or_would_come_out_otherwise_is_made_again(
    tmp_path: Path, write_rows: Callable[[list[dict[str, str]]], Path], merges: list[Path]
) -> None:
    base, rows, run = tiny_chatml(tmp_path / "base"), write_rows(chat_rows(12)), tmp_path / "run"

    def export(*more: str) -> int:
        unchecked = ["exporter=[merged]", "exporter.merged.parity.check=false"]
        pipeline.run(make(base, rows, run, "stages=[export]", *unchecked, *more))
        return len(merges)

    pipeline.run(make(base, rows, run, "stages=[data,train]"))
    assert (export(), export()) == (1, 1)
    (run / "merged" / "model.safetensors").write_bytes(b"cut off")
    assert export() == 2
    assert export("exporter.merged.dtype=fp16") == 3
    assert export("exporter.merged.dtype=fp16") == 3
    pipeline.run(make(base, rows, run, "stages=[data,train]", "seed=7"))
    assert export("exporter.merged.dtype=fp16", "seed=7") == 4


def test_a_push_alone_of_what_was_never_exported_is_refused(tmp_path: Path, hub: UploadStandIn) -> None:
    with pytest.raises(FrameworkError, match="unknown exporter of this run 'adapter'"):
        testing.plan(["stages=[export]", "exporter=[push]", "exporter.push.repo_id=me/tuned"], run_dir=tmp_path)
    assert not hub.repositories


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exporter.merged.folder=a/b"], "must be one plain name inside the run folder, such as merged"),
        (["exporter.merged.folder=adapter"], "exporter.merged.folder=adapter is also that of exporter.adapter"),
        (["exporter.merged.max_shard_size=5"], "exporter.merged.max_shard_size"),
        (["exporter.merged.folder=thesis"], "no exporter made it"),
    ],
)
def test_what_cannot_be_written_is_reported_before_training(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(FrameworkError) as caught:
        testing.plan(["exporter=[adapter,merged]", *words], run_dir=tmp_path)
    assert said in str(caught.value)
