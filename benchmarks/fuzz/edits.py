"""Changes to files, as data: a case can be printed, drawn again and made small."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EDITS: dict[str, Callable[..., None]] = {}


@dataclass(frozen=True)
class Edit:
    """A function of this module, the file below the working folder, and its further arguments."""

    do: str
    path: str
    more: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.do}({', '.join(map(ascii, (self.path, *self.more)))})"

    def apply(self, place: Path, resolve: Callable[[str], str]) -> None:
        """Change the file; `resolve` replaces placeholders in texts."""
        EDITS[self.do](place / self.path, *(resolve(each) if isinstance(each, str) else each for each in self.more))


def _edit(function: Callable[..., None]) -> Callable[..., None]:
    EDITS[function.__name__] = function
    return function


def at(held: Any, keys: tuple[str | int, ...]) -> Any:
    """Return the value below these keys."""
    for key in keys:
        held = held[key]
    return held


@_edit
def put(file: Path, content: bytes) -> None:
    """Write a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@_edit
def script(file: Path, content: bytes) -> None:
    """Write a program."""
    put(file, content)
    file.chmod(0o755)


@_edit
def rows(file: Path, count: int) -> None:
    """Write the sound rows as a file of the kind that its name says."""
    from tests.support.data_files import content
    from tests.support.tiny import chat_rows

    file.write_bytes(content(file.name, chat_rows(count)))


@_edit
def line(file: Path, number: int, content: bytes) -> None:
    """Replace a line; a file that is packed is packed again."""
    packed = file.suffix == ".gz"
    lines = (gzip.decompress(file.read_bytes()) if packed else file.read_bytes()).splitlines()
    lines[number] = content
    made = b"".join(each + b"\n" for each in lines)
    file.write_bytes(gzip.compress(made) if packed else made)


@_edit
def copy(file: Path, source: str) -> None:
    """Copy a file or a folder."""
    shutil.copytree(source, file, symlinks=True) if Path(source).is_dir() else shutil.copy2(source, file)


@_edit
def folder(file: Path) -> None:
    """Make a folder, instead of the file if there is one."""
    gone(file)
    file.mkdir(parents=True)


@_edit
def gone(file: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)


@_edit
def pipe(file: Path) -> None:
    """Replace a file by a named pipe."""
    gone(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)


@_edit
def link(file: Path, target: str) -> None:
    """Replace a file by a link."""
    gone(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


@_edit
def listen(file: Path) -> None:
    """Replace a file by a socket."""
    gone(file)
    here = Path.cwd()
    os.chdir(file.parent)  # the name of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(file.name)
    finally:
        os.chdir(here)


@_edit
def hole(file: Path, size: int) -> None:
    """Grow a file by nulls that take no space."""
    with file.open("ab") as opened:
        opened.truncate(file.stat().st_size + size)


@_edit
def cut(file: Path, share: float) -> None:
    """Keep the first part of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


@_edit
def zero(file: Path) -> None:
    """Fill a file with nulls."""
    file.write_bytes(bytes(file.stat().st_size))


@_edit
def insert(file: Path, share: float, content: bytes) -> None:
    """Insert bytes."""
    held = file.read_bytes()
    place = int(share * len(held))
    file.write_bytes(held[:place] + content + held[place:])


@_edit
def write_at(file: Path, needle: bytes, offset: int, content: bytes) -> None:
    """Overwrite bytes, counted from where a sequence of bytes begins."""
    held = file.read_bytes()
    place = held.index(needle) + offset
    file.write_bytes(held[:place] + content + held[place + len(content) :])


@_edit
def set_json(file: Path, keys: tuple[str | int, ...], value: Any) -> None:
    """Set a value in a JSON file."""
    held = json.loads(file.read_bytes())
    at(held, keys[:-1])[keys[-1]] = value
    file.write_text(json.dumps(held), encoding="utf-8")


@_edit
def drop_json(file: Path, keys: tuple[str | int, ...]) -> None:
    """Remove a key from a JSON file."""
    held = json.loads(file.read_bytes())
    del at(held, keys[:-1])[keys[-1]]
    file.write_text(json.dumps(held), encoding="utf-8")


@_edit
def shuffle_json(file: Path, indent: int) -> None:
    """Write the keys of a JSON file in the opposite order, with another indentation."""
    held = json.loads(file.read_bytes())
    text = json.dumps(dict(reversed(held.items())), indent=indent or None, ensure_ascii=bool(indent % 2))
    file.write_text(text + "\n", encoding="utf-8")


@_edit
def header(file: Path, keys: tuple[str | int, ...], value: Any) -> None:
    """Set a value in the header of a safetensors file."""
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    held = json.loads(content[8 : 8 + size])
    if keys:
        at(held, keys[:-1])[keys[-1]] = value
    else:
        held = value
    made = json.dumps(held).encode()
    file.write_bytes(struct.pack("<Q", len(made)) + made + content[8 + size :])


@_edit
def tensors(file: Path, how: str, name: str, value: Any = None) -> None:
    """Save the tensors of a safetensors file again, with one of them (`*` is all of them) changed."""
    import torch
    from safetensors.torch import load_file, save_file

    held = load_file(file)
    for each in list(held) if name == "*" else [name]:
        tensor = held.pop(each)
        if how == "rename":
            held[value] = tensor
        elif how == "copy":
            held |= {each: tensor, value: tensor.clone()}
        elif how == "cast":
            held[each] = tensor.to(getattr(torch, value))
        elif how == "fill":
            tensor.view(-1)[0] = float(value)
            held[each] = tensor
        elif how == "reshape":
            held[each] = tensor.reshape(*tensor.shape, 1) if value else tensor[..., :-1].contiguous()
        else:
            assert how == "drop"
    save_file(held, file, {"format": "pt"})


@_edit
def shard(file: Path, count: int) -> None:
    """Split a safetensors file into several, with an index; `file` is the index."""
    from safetensors.torch import load_file, save_file

    single = file.parent / "model.safetensors"
    held = load_file(single)
    single.unlink()
    names = {name: f"model-{number % count + 1:05d}-of-{count:05d}.safetensors" for number, name in enumerate(held)}
    for part in set(names.values()):
        save_file({name: held[name] for name in names if names[name] == part}, file.parent / part, {"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    file.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": names}), encoding="utf-8")
