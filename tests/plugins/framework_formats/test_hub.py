"""`data=hub` against a Hub on loopback, in a process of its own: `datasets` reads the address when imported."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.framework.program import Result, execute
from tests.support.hub import HubStandIn

LOAD = """
import json, sys
from framework import FrameworkError
from framework_formats.config import HubConfig
from framework_formats.hub import Hub
try:
    rows = Hub(HubConfig(**json.loads(sys.argv[1]))).load().train
    print(json.dumps([[row.fields, row.where] for row in rows]))
except FrameworkError as error:
    sys.exit(f"refused: {error}")
"""
Load = Callable[..., Result]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    """Serve one public and one gated data set."""
    folder = tmp_path_factory.mktemp("orders")
    rows = [{"instruction": f"say {number}", "output": str(number)} for number in range(5)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "test.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    with HubStandIn({}, {"acme/orders": folder, "acme/gated": folder}, frozenset({"acme/gated"})) as stand_in:
        yield stand_in


@pytest.fixture
def load(hub: HubStandIn, tmp_path: Path) -> Load:
    """Return a function that loads a data set in a process that knows only the stand-in."""

    def run(variables: dict[str, str] | None = None, **config: str) -> Result:
        env = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HOME": str(tmp_path),
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            **(variables or {}),
        }
        return execute((sys.executable, "-c", LOAD), json.dumps(config), cwd=tmp_path, env=env)

    return run


def test_the_rows_of_a_split_arrive_with_their_places(load: Load) -> None:
    result = load(path="acme/orders", split="train[1:3]")
    assert result.code == 0, result.err
    assert json.loads(result.out.splitlines()[-1]) == [
        [{"instruction": "say 1", "output": "1"}, "acme/orders[0]"],
        [{"instruction": "say 2", "output": "2"}, "acme/orders[1]"],
    ]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"path": "acme/nothing"}, "data.path=acme/nothing: the Hub has no such data set, or it is gated and you"),
        ({"path": "acme/orders", "split": "dev"}, "data.path=acme/orders, data.split=dev: ValueError: Unknown split"),
        ({"path": "acme/orders", "revision": "v9"}, "data.path=acme/orders"),
        ({"path": "acme/orders", "name": "french"}, "data.path=acme/orders"),
        ({"path": "acme/gated"}, "data.path=acme/gated"),
    ],
    ids=["data set", "split", "revision", "configuration", "gated"],
)
def test_what_the_hub_does_not_have_is_told_in_one_line(load: Load, config: dict[str, str], text: str) -> None:
    result = load(**config)
    last = result.err.splitlines()[-1]
    assert last.startswith(f"refused: {text}")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "variables",
    [{"HF_HUB_OFFLINE": "1"}, pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, marks=pytest.mark.slow)],
    ids=["offline", "no answer"],
)
def test_a_hub_that_cannot_be_reached_is_told(load: Load, variables: dict[str, str]) -> None:
    result = load(variables, path="acme/orders")
    assert result.err.splitlines()[-1].startswith("refused: data.path=acme/orders: the Hub cannot be reached")
