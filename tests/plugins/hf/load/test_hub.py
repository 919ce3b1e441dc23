"""hf/load/hub.py: a Hub that drips, leads in circles or fails, and a cache that cannot be written: each one line."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import _http

from framework.config.compose import conf_dir
from framework.memory import Shape
from framework.util.errors import FrameworkError
from framework_plugins.hf.load import hub as local_model
from framework_plugins.hf.load.hub import LocalModel
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.load.start import find_start
from framework_plugins.hf.settings.config import LocalModelConfig, LoraAdapterConfig
from framework_plugins.lib import hub as hub_module
from framework_plugins.lib.network import reachable
from tests.support.hub import HubStandIn
from tests.support.loopback import Handler, Loopback


class OddHub(Loopback):
    """A Hub that behaves in one way, whatever is asked for."""

    def __init__(self, way: str) -> None:
        self.way = way


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        way = self.server.owner.way
        if way == "circle":
            return self.start(302, {"Location": self.path + "x"}, 0)
        if way == "error":
            return self.start(403, {}, 0)
        commit = {"X-Repo-Commit": "0" * 40, "ETag": '"1"'}
        self.start(200, commit, 10_000)
        for _ in range(200 if self.command == "GET" else 0):
            self.wfile.write(b"{")
            self.wfile.flush()
            time.sleep(0.05)
        return None

    do_HEAD = do_GET  # noqa: N815 - as above


OddHub.handler = _Handler


@pytest.fixture
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """Serve a Hub in the way that the test names, or one that has a folder as acme/thing, with an empty cache."""
    way = request.param
    with OddHub(way) if isinstance(way, str) else HubStandIn({"acme/thing": way(tmp_path / "model")}, {}) as served:
        for module in (constants, hub_module):
            monkeypatch.setattr(module, "ENDPOINT", served.url)
        address = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        reachable.cache_clear()
        yield served
    _http.close_session()
    reachable.cache_clear()


def large_model(folder: Path) -> Path:
    """Write a folder like one of a model, with 25 megabytes that stand for weights."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(bytes(25_000_000))
    return folder


def small_adapter(folder: Path) -> Path:
    """Write a folder like one of an adapter."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("hub", [small_adapter], indirect=True)
def test_an_adapter_to_start_from_comes_from_the_hub_and_its_weights_once_they_are_needed(hub: HubStandIn) -> None:
    config = LoraAdapterConfig(start="acme/thing")
    start = find_start(config, weights=False)
    assert (start.settings["r"], start.weights.exists()) == (4, False)
    assert find_start(config, weights=True).sha256 == hashlib.sha256(b"weights").hexdigest()
    assert hub.requests


def told() -> str:
    with pytest.raises(FrameworkError) as caught:
        LocalModel(LocalModelConfig(path="acme/thing")).config_json()
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("hub", ["drip"], indirect=True)
def test_a_hub_that_drips_is_given_up_and_said_to_be_waited_for(
    hub: OddHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub_module, "SPEED_WINDOW", 0.6)
    monkeypatch.setattr(hub_module, "SECONDS_BETWEEN_REPORTS", 0.2)
    assert told().startswith("model.path=acme/thing: the Hub sends ")
    assert "model.path=acme/thing: waiting for the Hub for 0 s" in capsys.readouterr().err
    assert hub.way == "drip"


@pytest.mark.parametrize("hub", [large_model], indirect=True)
def test_a_download_in_a_pipe_shows_its_size_and_the_time_left(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub_module, "SECONDS_BETWEEN_REPORTS", 0.1)
    hub.pause = 0.04  # the library counts every ten megabytes
    folder = LocalModel(LocalModelConfig(path="acme/thing")).fetch(weights=True).folder
    assert (folder / "model.safetensors").stat().st_size == 25_000_000
    lines = capsys.readouterr().err.splitlines()
    pattern = r"model\.path=acme/thing: downloading, [12]\d\.\dMB of 25\.0MB  0:0\d left"
    assert [line for line in lines if re.fullmatch(pattern, line)], lines
    assert all(line.startswith("model.path=acme/thing: ") for line in lines)


def test_a_folder_with_a_config_alone_is_planned_for_and_has_no_weights(tmp_path: Path) -> None:
    folder = large_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}), encoding="utf-8")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    source = LocalModel(LocalModelConfig(path=str(folder)))
    assert source.check() == f"{folder} (LlamaForCausalLM)"
    with pytest.raises(FrameworkError) as caught:
        source.fetch(weights=False)
    reason = "pytorch_model.bin is pickled, which runs code when it is loaded, and is not read"
    assert str(caught.value) == f"model.path={folder}: the folder has no weights, no file *.safetensors; {reason}"


@pytest.mark.parametrize("place", ["mtp.layers.0.weight", "model.layers.2.mlp.weight", ""])
def test_layers_that_predict_several_tokens_are_not_counted(tmp_path: Path, place: str) -> None:
    folder = large_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2}), encoding="utf-8")
    names = ["model.layers.1.mlp.weight", place] if place else ["model.layers.1.mlp.weight"]
    end = 30 * len(names)
    weights = {
        name: {"dtype": "BF16", "shape": [3, 5], "data_offsets": [30 * index, 30 * index + 30]}
        for index, name in enumerate(names)
    }
    header = json.dumps(weights).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(end))
    assert LocalModel(LocalModelConfig(path=str(folder))).parameters() == 15


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("hub", "text"), [("circle", "edirects"), ("error", "403")], indirect=["hub"])
def test_a_hub_that_leads_in_circles_or_refuses_is_reported_in_one_line(text: str) -> None:
    assert text in told()


@pytest.mark.parametrize("hub", ["drip"], indirect=True)
@pytest.mark.usefixtures("hub")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("no folder", encoding="utf-8")
    line = told()
    assert f"the Hub's cache, {tmp_path / 'hub'}, cannot be written: Not a directory. Set HF_HUB_CACHE=" in line


@pytest.fixture(scope="module")
def presets() -> dict[str, str]:
    """Return the ids of the presets on the Hub, by name."""
    return {
        file.stem: yaml.safe_load(file.read_text("utf-8"))["path"] for file in (conf_dir() / "model").glob("*.yaml")
    }


def test_each_preset_comes_with_its_sizes(presets: dict[str, str]) -> None:
    assert sorted(presets.values()) == sorted(CONFIGS)


@pytest.mark.network
@pytest.mark.parametrize("path", CONFIGS)
def test_the_sizes_are_those_of_the_models_config(path: str) -> None:
    assert Shape.from_config(LocalModel(LocalModelConfig(path=path)).config_json()) == Shape.from_config(CONFIGS[path])


def test_without_a_network_a_preset_has_its_sizes_and_no_other_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "reachable", lambda _: False)
    preset = LocalModel(LocalModelConfig(path="Qwen/Qwen3-8B", chat_template=None))
    monkeypatch.setattr(local_model, "hf_hub_download", _unreachable)
    assert preset.config_json()["num_hidden_layers"] == 36
    for model in (preset, LocalModel(LocalModelConfig(path="acme/thing"))):
        with pytest.raises(FrameworkError, match="not on this machine, and the Hub cannot be reached"):
            model.check()
    with pytest.raises(FrameworkError, match="not on this machine"):
        LocalModel(LocalModelConfig(path="Qwen/Qwen3-8B", revision="main")).config_json()


def _unreachable(*_: object, **__: object) -> str:
    raise LocalEntryNotFoundError("no network")
