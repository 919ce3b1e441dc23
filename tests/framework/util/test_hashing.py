"""framework/util/hashing.py: what counts for a key changes it, and nothing else does."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from framework.api.schema import FormatConfig
from framework.hooks.decorators import FunctionFormatter
from framework.testing import EchoModel
from framework.util import hashing
from framework.util.hashing import key_of


def test_the_key_depends_on_each_of_its_parts_and_not_on_the_order_of_names() -> None:
    assert key_of("a", {"b": 1, "c": 2}) == key_of("a", {"c": 2, "b": 1})
    assert len({key_of("a"), key_of("b"), key_of("a", "b"), key_of({"a": "b"}), key_of(["a"]), key_of("ab")}) == 6


def test_the_keys_in_run_folders_stay_what_they_were() -> None:
    assert key_of({"a": 1}) == hashlib.sha256(json.dumps({"a": 1}).encode()).hexdigest()
    assert key_of("a", Path("b")) == hashlib.sha256(b'["a", "b"]').hexdigest()


def test_with_code_the_versions_of_libraries_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of("a"), key_of("a", code=[EchoModel])
    monkeypatch.setattr(hashing, "installed", lambda _: "0.0.1")
    assert key_of("a") == before[0] != before[1] != key_of("a", code=[EchoModel])


def test_the_code_of_a_package_counts_whole_and_that_of_a_file_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, single = tmp_path / "acme", tmp_path / "mine"
    for folder, names in (
        (package / "forms", ["__init__", "one"]),
        (package, ["__init__", "util"]),
        (single, ["single"]),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / f"{name}.py").write_text("", encoding="utf-8")
    modules = {
        "acme": package / "__init__.py",
        "acme.forms.one": package / "forms" / "one.py",
        "single": single / "single.py",
    }
    for name, file in modules.items():
        made = ModuleType(name)
        made.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, made)
    seen: dict[str, list[str]] = {"acme.forms.one": [], "single": []}
    for turn, changed in enumerate((None, package / "util.py", single / "helper.py", tmp_path / "beside.py")):
        if changed:
            changed.write_text(f"VALUE = {turn}", encoding="utf-8")
        hashing.source_hash.cache_clear()
        for module, keys in seen.items():
            kind = type("Form", (), {"__module__": module})
            keys.append(hashing.code_hash(kind))
            assert hashing.code_hash(kind()) == hashing.code_hash(module) == keys[-1]
    package_keys, file_keys = seen.values()
    assert package_keys[0] != package_keys[1] == package_keys[2] == package_keys[3]
    assert file_keys[0] == file_keys[1] != file_keys[2] == file_keys[3]


def test_a_decorated_function_counts_by_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(row: dict[str, str]) -> list[tuple[str, str]]:
        return [("user", row["a"]), ("assistant", row["b"])]

    turns.__module__ = "mine"
    made = ModuleType("mine")
    made.__file__ = str(tmp_path / "mine.py")
    monkeypatch.setitem(sys.modules, "mine", made)
    keys = []
    for text in ("1", "2"):
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        hashing.source_hash.cache_clear()
        keys.append(hashing.code_hash(FunctionFormatter(turns, FormatConfig(), fields=("a", "b"))))
    assert keys[0] != keys[1]


def test_code_that_has_no_file_has_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typed_in", ModuleType("typed_in"))
    assert hashing.code_hash(type("Form", (), {"__module__": "typed_in"})) != hashing.code_hash(EchoModel)
