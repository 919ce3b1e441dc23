"""What an export will take is told from config.json."""

import json
from pathlib import Path

import pytest

from framework_exports.config import Dtype, bytes_of, is_repo_id
from framework_exports.sizes import merged_bytes
from tests.support.bases import tiny_base


@pytest.mark.parametrize(
    ("stored", "dtype", "full", "width"),
    [
        ("bfloat16", Dtype.auto, False, 2),
        ("float32", Dtype.auto, False, 4),
        ("bfloat16", Dtype.auto, True, 4),
        ("bfloat16", Dtype.fp32, False, 4),
        ("float32", Dtype.fp16, True, 2),
    ],
)
def test_the_size_of_a_merged_model_is_known_from_its_config(
    stored: str, dtype: Dtype, width: int, tmp_path: Path, *, full: bool
) -> None:
    base = tiny_base(tmp_path / "base", "llama", dtype=stored)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    size = (base / "model.safetensors").stat().st_size / (2 if stored == "bfloat16" else 4) * width
    assert merged_bytes(config, dtype, full=full) == pytest.approx(size, rel=0.05)  # the header of the file


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("512 MiB", 2**29), ("1.5kb", 1500), ("5", 0), ("GB", 0), ("5 apples", 0)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("name", ["owner/name", "o-w/n.a_m-e", "0/1"])
def test_ids_of_the_hub_are_known(name: str) -> None:
    assert is_repo_id(name)


@pytest.mark.parametrize("name", ["name", "/a/b", "a/b/c", "a/-b", "a/b--c", "a/b.git", "a/b c", ".a/b", "", "a/b."])
def test_what_is_none_is_refused(name: str) -> None:
    assert not is_repo_id(name)
