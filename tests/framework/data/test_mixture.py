"""framework/data/mixture.py: other data beside the run's own, by weight or by count."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError, testing
from framework.api.data import Data
from framework.api.records import RawData, Row
from framework.data import mixture
from framework.data.stage import load_data
from framework.util import hashing

Write = Callable[[list[dict[str, str]]], Path]
GENERAL = [{"prompt": f"general question {number}", "completion": f"answer {number}"} for number in range(200)]


def loaded(own: Path, run_dir: Path, entries: list[dict[str, Any]], *words: str) -> Data:
    mixed = "[" + ",".join("{" + ",".join(f"{k}:{v}" for k, v in entry.items()) + "}" for entry in entries) + "]"
    plan = testing.plan(["data=local_file", f"data.path={own}", f"data.mix={mixed}", *words], run_dir=run_dir)
    return load_data(plan, testing.EchoModel(plan))


def test_a_weight_is_the_share_of_all_training_rows(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    entry = {"path": str(write_rows(GENERAL)), "weight": 0.5}
    data = loaded(data_file, tmp_path, [entry], "data.validation_split=0")
    assert data.result.train_rows == 40
    assert [part.rows for part in data.result.mixed] == [20]
    assert data.result.formats == {"alpaca": 20, "prompt_completion": 20}


def test_a_count_is_so_many_rows_and_several_sources_are_mixed(
    data_file: Path, write_rows: Write, tmp_path: Path
) -> None:
    entries = [
        {"path": str(write_rows(GENERAL[:100])), "count": 7},
        {"path": str(write_rows(GENERAL[100:])), "weight": 0.2},
    ]
    data = loaded(data_file, tmp_path, entries, "data.validation_split=0")
    assert [(part.requested, part.rows) for part in data.result.mixed] == [(7, 7), (7, 7)]
    assert data.result.train_rows == 20 + 7 + 7


def test_the_fingerprint_is_of_the_rows_alone_whatever_version_reads_them(
    data_file: Path, write_rows: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"path": str(write_rows(GENERAL[:9])), "count": 3}
    before = loaded(data_file, tmp_path, [entry])
    monkeypatch.setattr(hashing, "installed", lambda _: "0.0.1")
    assert loaded(data_file, tmp_path, [entry]).result.fingerprint == before.result.fingerprint


def test_what_is_mixed_in_is_never_validated_on(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    entry = {"path": str(write_rows(GENERAL)), "weight": 0.5}
    data = loaded(data_file, tmp_path, [entry], "data.validation_split=0.3")
    assert data.result.validation_rows == 6
    assert not [prompt for prompt in data.prompts if "general" in prompt.messages[-1].content]


def test_a_source_with_too_few_rows_gives_all_it_has_and_the_number_is_reported(
    data_file: Path, write_rows: Write, tmp_path: Path
) -> None:
    data = loaded(data_file, tmp_path, [{"path": str(write_rows(GENERAL[:3])), "count": 50}])
    assert [(part.requested, part.rows) for part in data.result.mixed] == [(50, 3)]


def test_another_seed_draws_other_rows_and_the_same_seed_the_same(
    data_file: Path, write_rows: Write, tmp_path: Path
) -> None:
    entry = {"path": str(write_rows(GENERAL)), "count": 10}
    drawn = [
        tuple(
            row.where
            for row in loaded(data_file, tmp_path, [entry], f"data.seed={seed}", "data.validation_split=0").train
        )
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def part(weight: float | None = None, count: int | None = None) -> mixture.MixtureSource:
    return mixture.MixtureSource("x", None, None, weight, count, None)  # type: ignore[arg-type]


@given(own=st.integers(1, 10_000), weight=st.floats(0.01, 0.6), other=st.floats(0.01, 0.3), count=st.integers(1, 500))
def test_the_rows_that_a_weight_asks_for_are_that_share_of_all(
    own: int, weight: float, other: float, count: int
) -> None:
    parts = [part(weight), part(other), part(count=count)]
    wanted = [entry.target_rows(own, parts) for entry in parts]
    whole = own + sum(wanted)
    assert wanted[2] == count
    assert wanted[0] / whole == pytest.approx(weight, abs=2 / whole)
    assert wanted[1] / whole == pytest.approx(other, abs=2 / whole)


def test_the_share_is_that_of_what_is_left_for_training(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    entry = {"path": str(write_rows(GENERAL)), "weight": 0.5}
    data = loaded(data_file, tmp_path, [entry], "data.validation_split=0.2")
    assert (data.result.validation_rows, data.result.train_rows) == (4, 32)
    assert [entry.rows for entry in data.result.mixed] == [16]


def test_of_a_stream_the_next_rows_are_taken_and_no_more_is_read() -> None:
    def rows() -> Any:
        yield from (Row({}, str(number)) for number in range(5))
        pytest.fail("read on")

    class Stream:
        def __iter__(self) -> Any:
            return rows()

    drawn = mixture.SeededSampler(RawData(Stream(), streamed=True), None, 1)
    assert [[row.where for row in drawn.draw(wanted) or ()] for wanted in (3, 2)] == [["0", "1", "2"], ["3", "4"]]


@given(total=st.integers(0, 30), wanted=st.lists(st.integers(1, 12), max_size=5), limit=st.none() | st.integers(1, 40))
def test_no_row_is_drawn_twice_and_none_beyond_the_first(total: int, wanted: list[int], limit: int | None) -> None:
    raw = RawData([Row({}, str(number)) for number in range(total)])
    drawn = mixture.SeededSampler(raw, limit, 3)
    numbers = [[int(row.where) for row in drawn.draw(count) or ()] for count in wanted]
    flat = [number for part in numbers for number in part]
    there = min(total, limit or total)
    assert len(set(flat)) == len(flat) == min(sum(wanted), there)
    assert all(number < there for number in flat)
    assert all(part == sorted(part) for part in numbers)


def test_rows_are_drawn_again_in_place_of_bad_ones(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    bad = [{"prompt": f"question {number}"} for number in range(30)]
    entry = {"path": str(write_rows([*GENERAL[:30], *bad])), "count": 25}
    data = loaded(data_file, tmp_path, [entry], "data.on_bad_row=skip")
    assert [(part.requested, part.rows) for part in data.result.mixed] == [(25, 25)]


def test_a_source_without_rows_is_refused(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"data\.mix\[0\] \(.*\) has no rows"):
        loaded(data_file, tmp_path, [{"path": str(write_rows([])), "count": 4}])


def test_the_first_rows_of_a_source_can_be_all_that_is_drawn_from(
    data_file: Path, write_rows: Write, tmp_path: Path
) -> None:
    data = loaded(data_file, tmp_path, [{"path": str(write_rows(GENERAL)), "count": 50, "max_rows": 10}])
    assert [(part.requested, part.rows) for part in data.result.mixed] == [(50, 10)]


def test_one_source_may_stand_there_twice(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    entry = {"path": str(write_rows(GENERAL)), "count": 4}
    data = loaded(data_file, tmp_path, [entry, {**entry, "count": 6}])
    assert [part.rows for part in data.result.mixed] == [4, 6]


def test_the_system_prompt_of_the_run_holds_for_rows_of_another_format(
    data_file: Path, write_rows: Write, tmp_path: Path
) -> None:
    entry = {"path": str(write_rows(GENERAL)), "count": 4, "format": "prompt_completion"}
    data = loaded(
        data_file, tmp_path, [entry], "format=alpaca", "format.system_prompt=Brief", "data.validation_split=0"
    )
    assert all(row.input_ids[0] == data.train[0].input_ids[0] for row in data.train)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"path": "x.jsonl"}, r"data\.mix\[0\] needs weight .* or count .*, but has neither"),
        ({"path": "x.jsonl", "weight": 0.1, "count": 3}, "but has both"),
        ({"path": "x.jsonl", "count": 3, "validation_path": "y.jsonl"}, "unknown key 'validation_path'"),
        ({"path": "x.jsonl", "count": 3, "columns": "output"}, r"columns=output must be named values, each text"),
        ({"path": "x.jsonl", "weight": 1.5}, r"data\.mix\[0\]\.weight=1\.5 must be a number above 0 and below 1"),
        ({"path": "x.jsonl", "count": 0}, r"data\.mix\[0\]\.count=0 must be a whole number above 0"),
        ({"path": "x.jsonl", "count": True}, r"count=True must be a whole number"),
        ({"path": "x.jsonl", "wieght": 0.1}, "unknown key 'wieght'. Did you mean 'weight'"),
        ({"pth": "x.jsonl", "weight": 0.1}, "unknown key 'pth'. Did you mean 'path'"),
        ({"path": "x.jsonl", "weight": 0.1, "validation_split": 0.5}, "unknown key 'validation_split'"),
        ({"path": "x.jsonl", "weight": 0.1, "data": "hbu"}, "unknown data option 'hbu'. Did you mean 'hub'"),
        ({"path": "x.jsonl", "weight": 0.1, "format": "alpacca"}, "Did you mean 'alpaca'"),
        ({"path": "x.jsonl", "weight": 0.1, "max_rows": -3}, r"max_rows=-3 must be a whole number above 0"),
        ({"weight": 0.1}, r"data\.mix\[0\]\.path has no value"),
    ],
)
def test_a_mistake_in_an_entry_is_reported_before_anything_is_read(
    tmp_path: Path, entry: dict[str, Any], problem: str
) -> None:
    with pytest.raises(FrameworkError, match=problem):
        loaded(tmp_path / "missing.jsonl", tmp_path, [entry])


def test_weights_that_leave_nothing_for_the_own_data_are_refused(tmp_path: Path) -> None:
    entries = [{"path": "x.jsonl", "weight": 0.6}, {"path": "y.jsonl", "weight": 0.4}]
    with pytest.raises(FrameworkError, match=r"the weights add up to 1, which leaves nothing"):
        loaded(tmp_path / "missing.jsonl", tmp_path, entries)


def test_rows_of_a_source_may_have_a_format_of_their_own(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    entry = {"path": str(write_rows(GENERAL)), "count": 4, "format": "prompt_completion"}
    data = loaded(data_file, tmp_path, [entry], "format=alpaca")
    assert data.result.formats["prompt_completion"] == 4


def test_rows_of_a_source_may_have_columns_of_their_own(data_file: Path, write_rows: Write, tmp_path: Path) -> None:
    rows = [{"frage": f"Frage {number}", "antwort": "ja"} for number in range(9)]
    entry = {"path": str(write_rows(rows)), "count": 4, "columns": "{prompt: frage, completion: antwort}"}
    data = loaded(data_file, tmp_path, [entry])
    assert data.result.formats == {"alpaca": 20, "prompt_completion": 4}
