"""The data stage with a real tokenizer: rows are tokenized once, and never again until something changes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.api import PythonProcess
from framework.api.data import Data
from framework.data.stage import load_data
from framework.plan.make import make_plan
from framework.run import pipeline
from framework.testing import compose
from framework_plugins.hf.backend import HFBackend
from tests.support.copies import in_place_of_processes
from tests.support.tiny import chat_rows, tiny_chatml


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chatml(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(30)), encoding="utf-8")
    return file


def words(base: Path, rows: Path, *more: str) -> list[str]:
    return ["model=local", f"model.path={base}", "data=local_file", f"data.path={rows}", "logger=[]", *more]


def load(base: Path, rows: Path, *more: str) -> Data:
    plan = make_plan(compose(words(base, rows, *more)), run_dir=rows.parent / "run")
    with HFBackend(plan.trainer.config).open(plan) as model:
        return load_data(plan, model)


def plain(data: Data) -> list[tuple[list[int], list[int], str]]:
    return [(row.input_ids, row.labels, row.where) for part in (data.train, data.validation) for row in part]


def test_a_second_run_tokenizes_nothing_and_has_the_same_rows(base: Path, rows: Path, cache: Path) -> None:
    first, second = load(base, rows), load(base, rows)
    assert (first.result.cached, second.result.cached) == (False, True)
    assert plain(first) == plain(second)
    assert first.result.findings == second.result.findings
    assert len(list(cache.iterdir())) == 1


def test_what_does_not_touch_the_tokens_does_not_make_them_again(base: Path, rows: Path) -> None:
    load(base, rows)
    for more in (
        "seed=7",
        "data.validation_split=0.5",
        "trainer.max_seq_length=60",
        "audit=[]",
        "data.overflow=truncate",
    ):
        assert load(base, rows, more).result.cached


@pytest.mark.parametrize(
    "more",
    [
        "format.system_prompt=Be brief",
        "model.chat_template_kwargs={enable_thinking: false}",
    ],
)
def test_what_touches_the_tokens_makes_them_anew(base: Path, rows: Path, more: str) -> None:
    load(base, rows)
    assert not load(base, rows, more).result.cached
    assert load(base, rows, more).result.cached


def test_other_bytes_of_the_data_are_other_rows(base: Path, rows: Path) -> None:
    before = load(base, rows)
    rows.write_text(rows.read_text(encoding="utf-8").replace("Add", "Sum"), encoding="utf-8")
    after = load(base, rows)
    assert not after.result.cached
    assert before.result.fingerprint != after.result.fingerprint
    assert plain(before) != plain(after)


def test_a_changed_template_never_meets_the_old_rows(base: Path, rows: Path, tmp_path: Path) -> None:
    template = (base / "chat_template.jinja").read_text(encoding="utf-8")
    other = tmp_path / "other.jinja"
    other.write_text(template.replace("short sentences", "long sentences"), encoding="utf-8")
    before = load(base, rows)
    after = load(base, rows, f"model.chat_template={other}")
    assert not after.result.cached
    assert plain(before) != plain(after)
    other.write_text(template, encoding="utf-8")
    assert load(base, rows, f"model.chat_template={other}").result.cached  # the content counts, not the place


def test_a_run_that_fails_keeps_nothing(base: Path, rows: Path, cache: Path) -> None:
    rows.write_text(rows.read_text(encoding="utf-8") + '{"question": "?"}\n', encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"rows\.jsonl:31"):
        load(base, rows)
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_named(base: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"cache.*Set FRAMEWORK_CACHE=FOLDER"):
        load(base, rows)


def stage(base: Path, rows: Path, folder: Path) -> None:
    """Run the data stage."""
    pipeline.run(make_plan(compose(words(base, rows, "stages=[data]")), run_dir=folder))


def test_runs_at_the_same_time_share_the_cache(base: Path, rows: Path, tmp_path: Path, cache: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    with in_place_of_processes(), PythonProcess() as one, PythonProcess() as two, ThreadPoolExecutor() as pool:
        called = [pool.submit(each.call, f"{__name__}:stage", base, rows, folder, seconds=240)
                  for each, folder in zip((one, two), folders, strict=True)]  # fmt: skip
        assert [each.result() for each in called] == [None, None]
    results = [json.loads((folder / "data.json").read_text(encoding="utf-8")) for folder in folders]
    for result in results:
        del result["cached"]
    assert results[0] == results[1]
    assert len(list(cache.iterdir())) == 1
