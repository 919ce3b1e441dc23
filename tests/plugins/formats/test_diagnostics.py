"""What the doctor says of the Hub, its token and local files."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.doctor.worker import DiagnosticProcess
from framework_plugins.formats import diagnostics
from framework_plugins.formats.plugin import framework_diagnostics
from tests.support.hub import HubStandIn
from tests.support.program import CLOSED

TOKEN = "hf_" + "aB3" * 10
OWN = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_HUB_CACHE",
    "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "HTTP_PROXY",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing of this machine's user take part."""
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf/token"))
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(urllib.request, "_opener", None)  # what was opened first has kept the proxies
    return tmp_path / "hf"


def test_a_hub_that_answers_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    with HubStandIn({}, {}) as stand_in:
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        assert diagnostics.hub(None) == DiagnosticResult(State.ok, f"{stand_in.url} answers")


class _Refusing(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(502, "Bad Gateway")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_hub_that_answers_with_an_error_is_missing(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", refusing)
    found = diagnostics.hub(None)
    assert (found.state, found.detail) == (State.missing, f"{refusing} answers with 502 Bad Gateway")


def test_a_proxy_is_asked_too(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.acme.invalid")
    monkeypatch.setenv("http_proxy", refusing)
    assert diagnostics.hub(None).detail == "http://hub.acme.invalid answers with 502 Bad Gateway"


def test_a_hub_that_takes_a_connection_and_says_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(diagnostics, "TIMEOUT", 0.2)
        found = diagnostics.hub(None)
    assert (found.state, " cannot be used: TimeoutError: timed out" in found.detail) == (State.missing, True)


def test_a_hub_that_is_switched_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    detail = "HF_HUB_OFFLINE switched it off: only the cache is used"
    assert diagnostics.hub(None) == DiagnosticResult(State.off, detail, fix="unset HF_HUB_OFFLINE")


def test_no_token_is_off_and_tells_how_to_log_in() -> None:
    found = diagnostics.token(None)
    assert (found.state, found.fix) == (State.off, "hf auth login, or set HF_TOKEN")


def test_a_token_is_reported_by_its_place_and_never_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "token").write_text(TOKEN, encoding="utf-8")
    assert diagnostics.token(None) == DiagnosticResult(State.ok, f"one is set, in {home / 'token'}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert diagnostics.token(None) == DiagnosticResult(State.ok, "one is set, in HF_TOKEN")


def test_a_data_set_of_the_hub_needs_it_unless_it_is_in_the_cache(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, token, files = framework_diagnostics()
    plan = testing.plan(["data=hub", "data.path=acme/Orders"], run_dir=tmp_path / "run")
    streaming = testing.plan(["data=hub", "data.path=acme/Orders", "data.streaming=true"], run_dir=tmp_path / "run")
    local = testing.plan(["data=local_file", "data.path=x.jsonl"], run_dir=tmp_path / "run")
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    with DiagnosticProcess() as worker:  # which reads the environment again
        found = worker.ask("framework_plugins.formats.diagnostics:hub", plan, seconds=60)
    assert found is not None
    assert (found.state, "HF_ENDPOINT" in found.fix) == (State.missing, True)
    assert found.detail == f"{CLOSED} cannot be reached; acme/Orders is not in the cache"
    assert [each.needed(local) for each in (hub, token, files)] == [False, False, True]
    (home / "datasets/acme___orders").mkdir(parents=True)
    assert diagnostics.hub(plan).detail == f"{CLOSED} cannot be reached; acme/Orders is in the cache"
    assert hub.needed(streaming)


@pytest.mark.parametrize("cached", [True, False])
def test_the_need_is_reported_by_the_cache_of_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "sets"))
    if cached:
        (tmp_path / "sets/acme___orders").mkdir(parents=True)
    hub, *_ = framework_diagnostics()
    assert hub.needed(testing.plan(["data=hub", "data.path=acme/orders"], run_dir=tmp_path / "run")) is not cached


def test_local_files_are_counted_and_missing_ones_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    words = ["data=local_file", f"data.path={tmp_path}/*.jsonl"]
    there = testing.plan(words, run_dir=tmp_path / "run")
    assert diagnostics.local_files(there) == DiagnosticResult(State.ok, "data.path: 1 file, 0.0 MiB")
    gone = testing.plan([*words, f"data.validation_path={tmp_path}/b.jsonl"], run_dir=tmp_path / "run")
    found = diagnostics.local_files(gone)
    assert found is not None
    assert (found.state, f"{tmp_path}/b.jsonl" in found.detail) == (State.missing, True)


def test_other_data_have_no_local_files(tmp_path: Path) -> None:
    assert diagnostics.local_files(testing.plan(["data=orders"], run_dir=tmp_path / "run")) is None
