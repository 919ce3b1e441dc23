"""Runs on object stores: URLs that lead to none, stores that refuse, fail or hang, and objects that were changed."""

from __future__ import annotations

import errno
import time
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import GOOD, KEPT, PLACE, STORED, STORED_URL, Case, Expect, words
from benchmarks.fuzz.edits import Edit
from benchmarks.fuzz.kinds.pieces import JSON

R, S, A = Expect.REFUSED, Expect.SAME, Expect.ANY
WHY = "what a store does then may or may not be needed"


class Odd(MemoryFileSystem):
    """Does what the name of its bucket says."""

    protocol = "odd"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("odd://")))

    def _ask(self, what: str, path: str) -> None:
        bucket = path.strip("/").partition("/")[0]
        type(self).asked += 1
        number = int("0" + "".join(filter(str.isdigit, bucket)))
        if bucket.startswith("down"):
            raise ConnectionError("Could not connect to the endpoint URL")
        if bucket.startswith("silent"):
            raise RuntimeError
        if bucket.startswith("full"):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        if bucket.startswith("denied") and what in {"write", "remove"}:
            raise PermissionError("Access Denied")
        if bucket.startswith("unreadable") and what in {"read", "list"}:
            raise PermissionError("Access Denied")
        if bucket.startswith("kept") and what == "remove":
            raise PermissionError("Access Denied")
        if bucket.startswith("absent"):
            raise FileNotFoundError("The specified bucket does not exist")
        if bucket.startswith("breaks") and self.asked > number:
            raise ConnectionResetError("Connection reset by peer")
        if bucket.startswith("flaky") and self.asked % max(2, number) == 0:
            raise TimeoutError
        if bucket.startswith("quota") and what == "write" and self.asked > number:
            raise OSError(errno.EDQUOT, "Disk quota exceeded", path)
        if bucket.startswith("expires") and what in {"write", "remove"} and self.asked > number:
            raise PermissionError("The provided token has expired")
        if bucket.startswith("faulty") and what == "write" and self.asked > number:
            raise OSError("An error occurred (InternalError) when calling the PutObject operation")
        if bucket.startswith("hangs") and self.asked > number:
            time.sleep(60)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **words: Any) -> None:
        self._ask("write", path)
        super().pipe_file(path, value, **({} if "old" in path else {"mode": mode}), **words)

    def put_file(self, lpath: str, rpath: str, **words: Any) -> None:
        if callback := words.get("callback"):
            callback.set_size(1)  # as S3's does when it begins
        self._ask("write", rpath)
        super().put_file(lpath, rpath, **words)

    def rm_file(self, path: str) -> None:
        self._ask("remove", path)
        super().rm_file(path)

    def cat_file(self, path: str, **words: Any) -> Any:
        self._ask("read", path)
        return super().cat_file(path, **words)

    def get_file(self, rpath: str, lpath: str, **words: Any) -> None:
        self._ask("read", rpath)
        super().get_file(rpath, lpath, **words)

    def ls(self, path: str, detail: bool = True, **words: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's signature
        self._ask("list", path)
        return super().ls(path, detail=detail, **words)


fsspec.register_implementation("odd", Odd, clobber=True)


def _case(what: str, expect: Expect, line: tuple[str, ...], *names: str, sound: str = "none", **more: Any) -> Case:
    return Case("stores", what, line, expect, sound, names, WHY, **more)


# ---- URLs

# Not ftp: fsspec prints a traceback of its own when it forgets a server that it did not reach.
PROTOCOLS = (
    "s3", "s3a", "S3", "gs", "gcs", "abfs", "abfss", "az", "adl", "hdfs", "webhdfs", "http", "https", "sftp",
    "ssh", "smb", "git", "github", "hf", "zip", "tar", "libarchive", "dask", "dbfs", "jlab", "jupyter", "oci", "oss",
    "data", "reference", "simplecache", "filecache", "blockcache", "cached", "dir", "generic", "root", "box", "dvc",
    "lakefs", "wandb", "tos", "gist", "gdrive", "asynclocal", "nope", "x", "a.b", "a+b", "a-b", "file+git", "memorys",
)  # fmt: skip
PATHS = st.sampled_from(
    ["bucket/run", "127.0.0.1:1/run", "b", "", "/", "//", "b/..", "b/../c/run", "b/./run", "user:pw@b/r"]
)
PLACES = st.text(st.characters(codec="utf-8", exclude_characters="\0'\\"), min_size=1, max_size=12)


@st.composite
def _protocol(draw: DrawFn) -> Case:
    """Draw a URL of a store that cannot be reached from here, or is none."""
    protocol = draw(st.sampled_from(PROTOCOLS))
    url = f"{protocol}://{draw(PATHS)}"
    commands = [words(f"run_dir='{url}'"), ("runs", url), ("resume", url), ("diff", url, url), ("chat", url)]
    return _case(f"{protocol}://", R, draw(st.sampled_from(commands)), url, protocol, "run_dir")


NO_URLS = ("s3:/bucket/run", "s3:bucket/run", "memory:/b/run", "gs:/b/r", "file:/tmp/r", "simplecache::memory://b/run")


def _no_url(url: str) -> Case:
    return _case(
        f"{url.partition(':')[0]} without its two slashes", R, (*words("stages=[data]"), f"run_dir='{url}'"), url
    )


@st.composite
def _path(draw: DrawFn) -> Case:
    """Draw an odd folder in a store: a run can be there, or it is refused."""
    place = draw(
        PLACES | st.sampled_from(["x" * 300, "a/" * 200, "..", "a/../b", "%2e%2e/x", "~", ".", "?a=1", "#x", "*"])
    )
    line = words("stages=[data]", f"run_dir='memory://bucket/{place}'")
    return _case("a folder of any name", A, line)


ALIKE = ("memory://bucket/run/", "memory://bucket//run", "memory:///bucket/run", '"memory://bucket/run"')


def _alike(url: str) -> Case:
    return _case("the same folder", S, words(f"run_dir={url}"), sound="stored")


# ---- stores that refuse and fail

ANSWERING = ("quota", "expires", "faulty")
"""Stores that answer to the end of a run, and refuse to write from some request on."""
REFUSING = ("down", "silent", "full", "denied", "unreadable", "absent")


@st.composite
def _failing(draw: DrawFn) -> Case:
    bucket = draw(st.sampled_from([*REFUSING, "kept", "old", "breaks", "flaky", "hangs", *ANSWERING]))
    name = bucket if bucket in REFUSING else f"{bucket}{draw(st.integers(0, 60))}"
    url = f"odd://{name}/run"
    line = words("store_seconds=2", f"run_dir={url}", *draw(st.sampled_from([(), ("trainer.save_steps=1",)])))
    return _case(bucket, R if bucket in REFUSING else A, line, url)


@st.composite
def _asking(draw: DrawFn) -> Case:
    """Draw a command for a store that refuses, or has no such run."""
    bucket = draw(st.sampled_from(["down", "silent", "full", "unreadable", "empty", "hangs0"]))
    url = f"odd://{bucket}/run"
    line = draw(st.sampled_from([("resume", url), ("rerun", url), ("chat", url), ("diff", url, url)]))
    return _case(f"{line[0]} of a store that is {bucket}", R, line, url)


# ---- what a store has

INDEX = "stored/.store.json"
FILES = ("plan.json", "overrides.json", "status.json", "report.json", "data.json", "train.json", "environment.json")
COMMANDS = (
    ("runs", STORED_URL), ("runs", f"file://{PLACE}"), ("diff", STORED_URL, STORED_URL), ("resume", STORED_URL),
    ("rerun", STORED_URL, "run_dir=again"),
    # With data: a folder that has nothing any more is not that of the quickstart.
    (f"run_dir={STORED_URL}", "stages=[report]", "data=local_file", f"data.path={GOOD}/rows.jsonl"),
)  # fmt: skip


@st.composite
def _object(draw: DrawFn) -> Edit:
    """Draw a change of an object of a run."""
    file = draw(st.sampled_from([INDEX, INDEX, *(f"stored/{name}" for name in FILES)]))
    path = draw(st.sampled_from(["../../evil", "/etc/passwd", "", "a\0b", "plan.json", "x" * 300, "plan.json/x", "."]))
    entry = draw(JSON | st.sampled_from([[1, 1], [-1, 0], [0, -1], [10**30, 10**30], [1, float("nan")], ["1", "2"]]))
    return draw(
        st.sampled_from(
            [
                Edit("cut", file, (draw(st.floats(0, 1)),)), Edit("gone", file), Edit("folder", file),
                Edit("put", file, (draw(st.sampled_from([b"", b"[]", b"{}", b"null", b"\xff", b"[" * 2000])),)),
                Edit("set_json", INDEX, (("files", path), entry)), Edit("set_json", INDEX, (("files",), draw(JSON))),
                Edit("set_json", INDEX, ((draw(st.sampled_from(["writer", "before", "x"])),), draw(JSON))),
                Edit("put", "stored/.store.9.lock", (b'{"holder":"x\\u001b[31m","writer":"y","since":1,"written":1}',)),
                Edit("put", "stored/.store.9.lock", (draw(st.sampled_from([b"", b"[]", b"\xff", b'{"since":1e99}'])),)),
            ]
        )
    )  # fmt: skip


@st.composite
def _changed(draw: DrawFn) -> Case:
    edits = draw(st.lists(_object(), min_size=1, max_size=2, unique_by=lambda edit: edit.path))
    line = draw(st.sampled_from(COMMANDS))
    sound = "reported" if line[0].startswith("run_dir") else "none"
    return _case("objects that were changed", A, line, sound=sound, edits=(STORED, *edits))


def _whole(line: tuple[str, ...]) -> Case:
    sound = {"runs": "listed", "diff": "compared"}.get(line[0], "reported")
    return _case(f"{line[0]} of a store", S, line, sound=sound, edits=(STORED,))


WHOLE = (
    ("runs", f"{STORED_URL}/"), ("diff", f"{STORED_URL}/", STORED_URL, "--json"),
    (f"run_dir={STORED_URL}/", "stages=[report]"),
)  # fmt: skip
CASES: SearchStrategy[Case] = st.one_of(
    _protocol(), _protocol(), _protocol(), st.sampled_from(NO_URLS).map(_no_url), _path(),
    st.sampled_from(ALIKE).map(_alike), _failing(), _failing(), _failing(), _asking(), _changed(), _changed(),
    _changed(), st.sampled_from(WHOLE).map(_whole),
)  # fmt: skip
assert KEPT in str(STORED)
