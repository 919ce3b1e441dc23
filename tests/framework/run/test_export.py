"""framework/run/export.py: what of an earlier export can be used again, and what cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.protocols import ExportContext, Exporter, Model
from framework.api.records import Artifact, ExportResult
from framework.api.schema import Affects
from framework.run import export
from framework.run.export import KEPT_NOTE, ExportError, Exports, fingerprint

LARGE = 2 * export.HASHED_BYTES + 3


@pytest.mark.parametrize("result", [None, [Path("a")], "a"])
def test_an_exporter_that_names_no_artifacts_learns_what_to_return(result: object) -> None:
    with pytest.raises(FrameworkError) as caught:
        export.artifacts("zipped", result)
    shown = repr(result[0] if isinstance(result, list) else result)
    told = "return a list with an Artifact(kind, path, bytes) for each file or folder that it wrote"
    assert str(caught.value) == f"exporter zipped returned {shown}: {told}"
    made = [Artifact("text", "a", 1)]
    assert export.artifacts("zipped", iter(made)) == made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder with weights and two exports."""
    for name in ("checkpoint/weights", "merged/run_config.json", "adapter/run_config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def earlier(run: Path, *words: str) -> tuple[Exports, ExportResult]:
    """Return the exports of a plan that made both."""
    made = now(run, None, *words)
    made.add("merged", [Artifact("merged", "merged", 22)])
    made.add("adapter", [Artifact("adapter", "adapter", 23, ["a note"])])
    return made, made.result()


def now(run: Path, before: ExportResult | None, *words: str) -> Exports:
    plan = testing.plan([*words, "exporter=[adapter,merged,model_card]"], run_dir=run)
    settings = plan.affecting(Affects.exports)
    keys = {name: export.settings(settings, choice) for name, choice in plan.exporter.items()}
    return Exports(run, fingerprint(plan.checkpoint), keys, before)


def test_a_folder_has_the_size_that_it_has_at_the_end(run: Path) -> None:
    made, first = earlier(run)
    (run / "merged" / "README.md").write_text("a card", encoding="utf-8")
    made.add("model_card", [Artifact("model_card", "merged/README.md", 6)])
    assert [artifact.bytes for artifact in first.artifacts] == [22, 23]
    assert [artifact.bytes for artifact in made.result().artifacts] == [28, 23, 6]


def test_what_is_whole_and_of_the_same_is_taken_again_and_the_rest_is_there_to_be_used(run: Path) -> None:
    _, before = earlier(run)
    again = now(run, before)
    assert again.artifacts == tuple(before.artifacts)
    assert again.reuse_if_unchanged("merged")
    assert not again.reuse_if_unchanged("gguf")
    kept = dataclasses.replace(before.artifacts[0], notes=[KEPT_NOTE])
    assert again.artifacts == (kept, before.artifacts[1])
    third = now(run, again.result())
    assert third.reuse_if_unchanged("merged")
    assert third.artifacts[0].notes == [KEPT_NOTE]
    assert third.result() == again.result()


def test_other_settings_leave_it_there_and_are_made_anew(run: Path) -> None:
    _, before = earlier(run)
    for words in (["exporter.merged.dtype=fp16"], ["model.chat_template_kwargs={a: 1}"]):
        other = now(run, before, *words)
        assert not other.reuse_if_unchanged("merged")
        assert other.artifacts == tuple(before.artifacts)
    for words in (["logger=[jsonl]"], ["stages=[export]"], ["exporter.adapter.folder=adapter"]):
        assert now(run, before, *words).reuse_if_unchanged("merged")


class Writes(Exporter):
    """Writes one file, and notes that it was asked."""

    reusable = True

    def __init__(self, name: str, asked: list[str], *after: str) -> None:
        self.name, self.asked, self.after = name, asked, after

    def export(self, _: Model, context: ExportContext) -> list[Artifact]:
        self.asked.append(self.name)
        (context.run_dir / self.name).write_text(self.name, encoding="utf-8")
        return [Artifact("file", self.name, len(self.name))]


def test_an_exporter_is_asked_again_when_one_that_it_builds_on_was(run: Path) -> None:
    asked: list[str] = []
    exporters = {"adapter": Writes("adapter.txt", asked), "merged": Writes("merged.txt", asked, "adapter")}
    before = None
    for words in ([], [], ["exporter.adapter.folder=other"]):
        plan = testing.plan([*words, "exporter=[adapter,merged]"], run_dir=run)
        model: Any = None
        *_, before = export.export(model, exporters, context_of(plan), before)
        asked.append("end")
    assert asked == ["adapter.txt", "merged.txt", "end", "end", "adapter.txt", "merged.txt", "end"]


def context_of(plan: Plan) -> ExportContext:
    return ExportContext(plan.run_dir, plan.checkpoint, plan.config, plan)


class Refuses(Writes):
    """An exporter that cannot."""

    error: BaseException = FrameworkError("there is no room")

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        super().export(model, context)
        raise self.error


@pytest.mark.parametrize(
    ("raised", "told"),
    [(Refuses.error, "there is no room"), (SystemExit(0), "SystemExit: 0 (")],
)
def test_an_exporter_that_fails_costs_only_those_that_use_its_artifacts(
    run: Path, raised: BaseException, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refuses, "error", raised)
    asked: list[str] = []
    exporters = {
        "gguf": Refuses("gguf", asked),
        "ollama": Writes("ollama", asked, "gguf"),
        "card": Writes("card", asked),
    }
    nothing: Any = None
    results: list[ExportResult] = []
    plan = testing.plan(["stages=[export]"], run_dir=run)
    with pytest.raises(ExportError) as error:
        results += export.export(nothing, exporters, context_of(plan), None)
    first, second, command = str(error.value).splitlines()
    assert first.startswith(f"exporter 'gguf': {told}")
    assert second == "exporter 'ollama': not made, because gguf failed"
    assert command.endswith(f" stages=[export] run_dir={run}")
    assert asked == ["gguf", "card"]
    plan = testing.plan(["stages=[export]", "exporter=[adapter]"], run_dir=run)
    *_, later = export.export(nothing, {"adapter": Writes("other", asked)}, context_of(plan), results[-1])
    assert later.failed == results[-1].failed  # they have not run since


@pytest.mark.parametrize("name", ["checkpoint/weights", "checkpoint/more", "merged/run_config.json"])
def test_other_weights_and_damaged_files_are_not_used(run: Path, name: str) -> None:
    _, before = earlier(run)
    (run / name).write_bytes(b"something else")
    found = now(run, before)
    assert not found.reuse_if_unchanged("merged")
    assert "merged" not in [artifact.path for artifact in found.artifacts]


def test_what_is_gone_is_no_longer_listed(run: Path) -> None:
    _, before = earlier(run)
    found = now(run, before)
    (run / "adapter" / "run_config.json").unlink()
    (run / "adapter").rmdir()
    assert [artifact.path for artifact in found.result().artifacts] == ["merged"]
    assert found.result().origins.keys() == {"merged"}


def test_a_record_of_an_older_version_is_passed_over(run: Path) -> None:
    assert now(run, ExportResult([Artifact("merged", "merged", 12)])).artifacts == ()


def test_weights_count_by_name_and_content(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    file = tmp_path / "one" / "weights"
    file.write_bytes(bytes(LARGE))
    first = fingerprint(tmp_path / "one")
    file.touch()
    assert fingerprint(tmp_path / "one") == first
    content = bytearray(LARGE)
    content[LARGE // 2 : LARGE // 2 + 2 * export.BLOCK_BYTES] = b"1" * 2 * export.BLOCK_BYTES
    file.write_bytes(content)
    assert fingerprint(tmp_path / "one") != first
    file.write_bytes(bytes(LARGE))
    file.rename(file.with_name("others"))
    assert fingerprint(tmp_path / "one") != first
    assert fingerprint(tmp_path / "nothing") == fingerprint(tmp_path / "nowhere")


def test_settings_that_look_like_secrets_tell_exports_apart(run: Path) -> None:
    _, before = earlier(run, "format.system_prompt='Say token=alpha'")
    assert now(run, before, "format.system_prompt='Say token=alpha'").reuse_if_unchanged("merged")
    assert not now(run, before, "format.system_prompt='Say token=beta'").reuse_if_unchanged("merged")
