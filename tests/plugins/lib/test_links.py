"""framework_plugins/lib/links.py: a folder of somebody else has no links that lead out of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from framework import FrameworkError
from framework_plugins.lib.links import refuse_links


@pytest.mark.parametrize("link", ["notes.txt", "below/config.json", "folder", "circle"])
def test_a_folder_that_links_out_of_itself_is_refused(tmp_path: Path, link: str) -> None:
    private, model = tmp_path / "private", tmp_path / "model"
    (model / "below").mkdir(parents=True)
    private.mkdir()
    (private / "key").write_text("secret", encoding="utf-8")
    target = {"folder": private, "circle": private / "circle"}.get(link, private / "key")
    (private / "circle").symlink_to(private / "circle")
    (model / link).symlink_to(os.path.relpath(target, (model / link).parent))
    message = f"^model.path=model: {link} is a link to {re.escape(str(target))}, outside of the folder"
    with pytest.raises(FrameworkError, match=message):
        refuse_links(model, "model.path=model")


def test_what_is_no_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    (tmp_path / "model" / "below").mkdir(parents=True)
    os.mkfifo(tmp_path / "model" / "below" / "config.json")
    with pytest.raises(FrameworkError, match=r"^model: below/config\.json is a named pipe, not a file: remove it"):
        refuse_links(tmp_path / "model", "model")
    (tmp_path / "model" / "below" / "config.json").unlink()
    (tmp_path / "model" / "model.safetensors").symlink_to(os.devnull)
    with pytest.raises(FrameworkError, match=r"^model: model\.safetensors is a device, not a file"):
        refuse_links(tmp_path / "model", "model", besides=".safetensors")


@pytest.mark.parametrize("target", ["gone", "vocab.json"])
def test_a_link_that_leads_nowhere_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").symlink_to(target)
    with pytest.raises(FrameworkError, match=r"^model: vocab\.json is a link that leads nowhere: put the file there"):
        refuse_links(tmp_path, "model")


def test_links_inside_a_folder_and_to_the_blobs_of_a_snapshot_are_fine(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "hash").touch()
    (snapshot / "config.json").symlink_to("../../blobs/hash")
    (snapshot / "same.json").symlink_to("config.json")
    refuse_links(snapshot, "model")
    (tmp_path / "linked").symlink_to(snapshot)
    refuse_links(tmp_path / "linked", "model")
    (snapshot / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    refuse_links(snapshot, "model", besides=".safetensors")
    (snapshot / "tokenizer.json").symlink_to("../../refs")
    with pytest.raises(FrameworkError, match=r"tokenizer\.json is a link to"):
        refuse_links(snapshot, "model", besides=".safetensors")
