"""`data=hub` against a Hub on loopback, in a process of its own: `datasets` reads the address when imported."""

import datetime as dt
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value

from tests.support.forked_program import Result, execute, forked
from tests.support.forks import Forks
from tests.support.hub import HubStandIn
from tests.support.program import environment

LOAD = """
import json, sys
from framework import FrameworkError
from framework.hooks.session import current
from framework_plugins.formats.config import HubConfig
from framework_plugins.formats.hub import Hub
current().progress.send = lambda progress: print(progress.line, file=sys.stderr)
def told(rows):
    return [[row.fields, row.where, row.problem] for row in rows]
for config in json.loads(sys.argv[1]):
    try:
        raw = Hub(HubConfig(**config)).load()
        print(json.dumps([told(raw.train), told(raw.validation), raw.key, raw.streamed, told(raw.train)[:1]]))
    except FrameworkError as error:
        print(json.dumps(f"refused: {error}"))
"""
Load = Callable[..., Any]
ROWS = [{"instruction": f"say {number}", "output": str(number)} for number in range(600)]


def write_orders(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (folder / "test.jsonl").write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    """Serve public data sets, one that is gated, and one with code of its own."""
    place = tmp_path_factory.mktemp("sets")
    orders = write_orders(place / "orders")
    scripted = write_orders(place / "scripted")
    (scripted / "scripted.py").write_text("raise SystemExit('ran')\n", encoding="utf-8")
    (place / "mixed").mkdir()
    (place / "mixed" / "train.jsonl").write_text('{"a": 1}\n' * 5 + '{"a": {"b": 2}}\n', encoding="utf-8")
    (place / "dates").mkdir()
    table = pa.table({"day": [dt.date(2024, 1, 2), None], "raw": [None, b"x"], "text": ["a", "b"]})
    pq.write_table(table, place / "dates" / "train.parquet")
    (place / "hollow").mkdir()
    (place / "hollow" / "train.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (place / "hollow" / "test.csv").write_text("a,b\n", encoding="utf-8")
    (place / "pictures").mkdir()
    features = Features({"text": Value("string"), "pages": [Image()]})
    pictures = Dataset.from_dict({"text": ["a"], "pages": [[{"bytes": b"x", "path": None}]]}, features)
    sink = io.BytesIO()
    pictures.to_parquet(sink)
    (place / "pictures" / "train.parquet").write_bytes(sink.getvalue())
    datasets = {f"acme/{path.name}": path for path in place.iterdir()} | {"acme/gated": orders}
    with HubStandIn({}, datasets, frozenset({"acme/gated"})) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the cache that the processes of this file share."""
    return tmp_path_factory.mktemp("home")


def of_stand_in(hub: HubStandIn, home: Path, **variables: str) -> dict[str, str]:
    """Return the variables of a process that knows only the stand-in."""
    where = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_UPDATE_DOWNLOAD_COUNTS": "0", "HOME": str(home)}
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return {**where, **quiet, **variables}


@pytest.fixture(scope="module")
def forks(hub: HubStandIn, home: Path) -> Forks:
    """Return a Python that has imported `datasets` with the variables of the stand-in."""
    return Forks(environment(home, **of_stand_in(hub, home)), "framework_plugins.formats.hub")


def load(hub: HubStandIn, home: Path, *configs: dict[str, Any], **variables: str) -> tuple[list[Any], Result]:
    """Load data sets, one after the other, in a process that knows only the stand-in; return each result."""
    command, env = (sys.executable, "-c", LOAD, json.dumps(configs)), of_stand_in(hub, home, **variables)
    return told(execute(command, cwd=home, env=env))


def load_by(forks: Forks, hub: HubStandIn, home: Path, *configs: dict[str, Any]) -> tuple[list[Any], Result]:
    """Do the same by a fork, where no variable differs."""
    return told(forked(forks, ["-c", LOAD, json.dumps(configs)], home, environment(home, **of_stand_in(hub, home))))


def told(result: Result) -> tuple[list[Any], Result]:
    """Return what a process printed of each data set."""
    assert result.code == 0, result.err
    assert "Traceback" not in result.err
    return [json.loads(line) for line in result.out.splitlines() if line[:1] in {"[", '"'}], result


def rows(which: slice, place: str = "acme/orders") -> list[Any]:
    return [[row, f"{place}[{number}]", ""] for number, row in enumerate(ROWS[which])]


def test_the_rows_of_a_split_arrive_with_their_places_downloaded_or_streamed(
    forks: Forks, hub: HubStandIn, home: Path
) -> None:
    slices = {"path": "acme/orders", "split": "train[1:3]", "validation_split_name": "train[-1:]"}
    streamed = {"path": "acme/orders", "streaming": True, "validation_split_name": "test"}
    outcomes, result = load_by(forks, hub, home, slices, {"path": "acme/orders"}, streamed)
    assert outcomes[0][:2] == [rows(slice(1, 3)), rows(slice(-1, None), "acme/orders:train[-1:]")]
    assert outcomes[1][:2] == [rows(slice(None)), []]
    assert outcomes[2][:2] == [rows(slice(None)), rows(slice(1), "acme/orders:test")]
    assert [outcome[3] for outcome in outcomes] == [False, False, True]
    assert all(again == [first[0]] for first, *_, again in outcomes)
    splits = ("train[1:3]", "train[-1:]", "train")  # what is streamed is not downloaded
    lines = [f"split {split} of acme/orders, from the Hub or its cache" for split in splits]
    assert result.err.splitlines()[::2] == lines


def test_the_key_names_the_commit_and_what_is_taken_of_it(forks: Forks, hub: HubStandIn, home: Path) -> None:
    commit = hub.repositories["datasets", "acme/orders"].commit
    base: dict[str, Any] = {"path": "acme/orders"}
    taken: list[dict[str, Any]] = [{}, {"split": "train[:9]"}, {"validation_split_name": "test"}]
    same: list[dict[str, Any]] = [{"streaming": True}, {"revision": commit}]
    outcomes, _ = load_by(forks, hub, home, *(base | more for more in [*taken, {"path": "acme/dates"}, *same]))
    keys = [outcome[2] for outcome in outcomes]
    assert all(commit in key for number, key in enumerate(keys) if number != 3)
    assert keys[3]
    assert commit not in keys[3]
    assert len(set(keys[:4])) == 4
    assert keys[0] == keys[4] == keys[5]


def test_without_the_hub_a_cached_data_set_has_the_same_key_and_another_is_missing(
    forks: Forks, hub: HubStandIn, home: Path
) -> None:
    (online,), _ = load_by(forks, hub, home, {"path": "acme/orders"})
    absent = {"path": "acme/absent"}
    (offline, *missing), _ = load(
        hub, home, {"path": "acme/orders"}, absent, {**absent, "streaming": True}, HF_HUB_OFFLINE="1"
    )
    assert offline == online
    told = "refused: data.path=acme/absent: the Hub cannot be reached"
    assert [outcome.startswith(told) for outcome in missing] == [True, True]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_announced_and_the_cache_is_used(hub: HubStandIn, home: Path) -> None:
    (online,), _ = load(hub, home, {"path": "acme/orders"})
    (closed,), result = load(hub, home, {"path": "acme/orders"}, HF_ENDPOINT="http://127.0.0.1:9")
    assert closed == online
    assert "the Hub cannot be reached; looking for the data set in the cache" in result.err


def test_values_that_are_no_text_are_reported_or_written(forks: Forks, hub: HubStandIn, home: Path) -> None:
    outcomes, _ = load_by(forks, hub, home, {"path": "acme/dates"}, {"path": "acme/dates", "streaming": True})
    for outcome in outcomes:
        assert outcome[0] == [
            [{"day": "2024-01-02", "raw": None, "text": "a"}, "acme/dates[0]", ""],
            [{}, "acme/dates[1]", "the column 'raw' holds bytes, which is not text"],
        ]


HELD_OUT = {"validation_split_name": "test"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"path": "acme/nothing"}, "data.path=acme/nothing: the Hub has no such data set, or it is gated and you"),
    ({"split": "dev"}, 'data.path=acme/orders, data.split=dev: ValueError: Unknown split "dev". Should be one of [\''),
    (
        {"split": "dev", "streaming": True},
        "data.path=acme/orders, data.split=dev: ValueError: Bad split: dev. Available",
    ),
    ({"validation_split_name": "dev"}, "data.path=acme/orders, data.validation_split_name=dev: ValueError: Unknown"),
    ({"split": "train[x:]"}, "data.path=acme/orders, data.split=train[x:]: ValueError: Unrecognized instruction"),
    ({"revision": "v9"}, "data.path=acme/orders: the data set has no data.revision=v9"),
    ({"revision": "v9", "streaming": True}, "data.path=acme/orders: the data set has no data.revision=v9"),
    (
        {"name": "french"},
        "data.path=acme/orders, data.split=train, data.name=french: ValueError: BuilderConfig 'french'",
    ),
    ({"path": "acme/gated"}, "data.path=acme/gated: the Hub has no such data set, or it is gated"),
    ({"path": "acme/scripted"}, "data.path=acme/scripted needs code of its own (scripted.py), which is never run; the"),
    ({"path": "acme/scripted", "streaming": True}, "data.path=acme/scripted needs code of its own (scripted.py)"),
    ({"path": "acme/pictures"}, "data.path=acme/pictures: the column pages of split train cannot be learned: neither"),
    ({"path": "acme/pictures", "streaming": True}, "data.path=acme/pictures: the column pages of split train cannot"),
    (
        {"split": "train[:20]", "streaming": True},
        "data.split=train[:20] cannot be streamed: take data.split=train data.max_rows=20, or data.streaming=false",
    ),
    (
        {"validation_split_name": "train[5%:]", "streaming": True},
        "data.validation_split_name=train[5%:] cannot be streamed: take a whole split, or data.streaming=false",
    ),
    (
        {"validation_split_name": "train"},
        "data.validation_split_name=train is the same as data.split: set another one",
    ),
    ({"path": "acme/hollow", **HELD_OUT}, "data.path=acme/hollow, data.validation_split_name=test: ValueError: "),
    ({"path": "acme/hollow", **HELD_OUT, "streaming": True}, "data.validation_split_name=test: the split has no rows"),
    ({"validation_split_name": "test[:0]"}, "data.path=acme/orders, data.validation_split_name=test[:0]: ValueError: "),
    ({"path": "json"}, "data.path=json is not a data set: give the id of one, owner/name"),
    ({"path": "here/orders"}, "data.path=here/orders is on this machine: read it with data=local_file"),
]


def test_what_the_hub_does_not_have_is_reported_in_one_line(forks: Forks, hub: HubStandIn, home: Path) -> None:
    shutil.rmtree(home / "here", ignore_errors=True)
    (home / "here").mkdir()
    write_orders(home / "here" / "orders")
    outcomes, result = load_by(forks, hub, home, *({"path": "acme/orders"} | config for config, _ in REFUSED))
    for outcome, (config, text) in itertools.zip_longest(outcomes, REFUSED):
        assert str(outcome).startswith(f"refused: {text}"), config
        assert "\n" not in outcome
    assert "ran" not in result.out.split()


def test_a_column_of_numbers_and_objects_is_read_as_it_is(forks: Forks, hub: HubStandIn, home: Path) -> None:
    outcomes, _ = load_by(forks, hub, home, {"path": "acme/mixed"}, {"path": "acme/mixed", "streaming": True})
    for outcome in outcomes:
        assert [row[0]["a"] for row in outcome[0]] == [1, 1, 1, 1, 1, {"b": 2}]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_reported(hub: HubStandIn, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    outcomes, _ = load(hub, tmp_path, {"path": "acme/orders"}, {"path": "acme/orders", "streaming": True}, **variables)
    for outcome in outcomes:
        assert outcome.startswith("refused: data.path=acme/orders: the Hub cannot be reached")
