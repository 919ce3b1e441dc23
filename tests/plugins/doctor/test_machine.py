"""The machine as the core sees it."""

import shutil
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from framework.api.diagnostic import State
from framework.util import host
from framework_plugins.doctor import machine

METADATA = """Metadata-Version: 2.1
Name: acme-dist
Version: 1.2
Requires-Dist: pluggy>=1.5
Requires-Dist: rich<1
Requires-Dist: acme-absent>=2
Requires-Dist: acme-for-others; sys_platform == "nowhere"
Requires-Dist: acme-extra; extra == "more"
Provides-Extra: more
"""


def test_python_platform_memory_and_disks_are_found(tmp_path: Path) -> None:
    found = {one.name: one for one in machine.machine(tmp_path / "outputs")}
    assert list(found) == ["Python", "platform", "memory", "disk, outputs", "disk, cache"]
    assert {one.state for one in found.values()} == {State.ok}
    assert not (tmp_path / "outputs").exists()


def test_every_requirement_of_the_framework_is_found_with_its_version() -> None:
    found = list(machine.libraries())
    wanted = [Requirement(line) for line in requires("framework-finetune") or []]
    here = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    assert {one.name for one in found} == {each.name for each in here}
    assert {(one.state, bool(one.version), one.fix) for one in found} == {(State.ok, True, "")}


def test_libraries_are_held_against_the_declared_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "acme_dist-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    absent, pluggy, rich = machine.libraries("acme-dist")
    assert (absent.name, absent.state, absent.blocks) == ("acme-absent", State.missing, True)
    assert (absent.detail, absent.fix) == ("not installed; >=2 is required", "pip install 'acme-absent>=2'")
    assert (pluggy.name, pluggy.state, pluggy.detail) == ("pluggy", State.ok, "")
    # Another version may do: what it breaks is reported by what imports it.
    assert (rich.name, rich.state, rich.blocks) == ("rich", State.broken, False)
    assert (rich.detail, rich.fix) == ("<1 is required", "pip install 'rich<1'")


def test_what_an_uninstalled_framework_asks_for_is_unknown() -> None:
    (found,) = machine.libraries("acme-nowhere")
    assert (found.state, found.fix, found.blocks) == (State.unknown, "pip install -e .", False)


def test_a_full_disk_keeps_a_run_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20, total=2**40))
    found = next(one for one in machine.machine(tmp_path / "outputs") if one.name == "disk, outputs")
    assert (found.state, found.blocks) == (State.broken, True)
    assert found.detail.startswith("0.0 GiB free of 1024.0, for ")
    assert found.fix == "free 0.5 GiB there; run_dir=FOLDER names another one"


def test_a_file_in_the_way_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_bytes(b"")
    found = machine.disk(tmp_path / "outputs" / "run", "run_dir=FOLDER")
    assert (found.state, found.detail) == (State.broken, f"{tmp_path / 'outputs'} cannot be written to")


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1073741824\n", encoding="ascii")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    memory = next(one for one in machine.machine(tmp_path) if one.name == "memory")
    assert memory.detail.startswith("1.0 GiB, the limit of this container; ")
