"""A stand-in for the Hugging Face Hub on loopback, for tests that must not leave the machine."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.loopback import Handler, Loopback

_ROUTE = re.compile(
    r"/(?:api/)?(?:(?P<kind>models|datasets)/)?(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<action>revision|tree|paths-info|resolve|auth-check)(?:/(?P<revision>[^/]+))?(?:/(?P<path>.+))?)?/?"
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 1 << 20


class HubStandIn(Loopback):
    """Serve each folder as the repository of its id; the folders must not change while it runs.

    Every repository has one commit, a hash over its content, which is also `main`. A gated one shows its
    listing and refuses its files, as on the Hub. `requests` holds the paths asked for, without the query; `pause` are
    the seconds between two megabytes of a file.
    """

    pause = 0.0

    def __init__(self, models: dict[str, Path], datasets: dict[str, Path], gated: frozenset[str] = frozenset()) -> None:
        self.requests: list[str] = []
        self.repositories = {
            (kind, name): _Repository(name, folder, gated=name in gated)
            for kind, folders in (("models", models), ("datasets", datasets))
            for name, folder in folders.items()
        }


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    sha256: str


class _Repository:
    def __init__(self, name: str, folder: Path, *, gated: bool) -> None:
        self.name, self.gated = name, gated
        self.files: dict[str, _File] = {}
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self.files[path.relative_to(folder).as_posix()] = _File(path, path.stat().st_size, digest)
        listing = "".join(f"{file} {entry.sha256}\n" for file, entry in self.files.items())
        self.commit = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()

    def info(self) -> dict[str, Any]:
        siblings = [{"rfilename": file, "size": entry.size} for file, entry in self.files.items()]
        gated = "manual" if self.gated else False
        return {"id": self.name, "sha": self.commit, "private": False, "gated": gated, "siblings": siblings, "tags": []}

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every folder and file, in the form of the Hub's tree."""
        folders = {parent.as_posix() for file in self.files for parent in Path(file).parents} - {"."}
        yield from ({"type": "directory", "path": path, "size": 0, "oid": self.commit} for path in sorted(folders))
        for path, entry in self.files.items():
            yield {"type": "file", "path": path, "size": entry.size, "oid": entry.sha256[:40]}

    def tree(self, top: str, *, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{top}/" if top else ""
        below = [entry for entry in self.entries() if entry["path"].startswith(prefix)]
        return [entry for entry in below if recursive or "/" not in entry["path"][len(prefix) :]]


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.server.owner.requests.append(url.path)  # list.append is atomic
        route = _ROUTE.fullmatch(url.path)
        repository = route and self.server.owner.repositories.get((route["kind"] or "models", unquote(route["name"])))
        if route is None or repository is None:
            return self._refuse("RepoNotFound")
        path, action = unquote(route["path"] or ""), route["action"]
        if unquote(route["revision"] or "main") not in {"main", repository.commit}:
            return self._refuse("RevisionNotFound")
        if repository.gated and action in {"resolve", "auth-check"}:
            return self._refuse("GatedRepo")
        commit = {"X-Repo-Commit": repository.commit}
        if action == "resolve" and path in repository.files:
            return self._send_file(repository.files[path], commit)
        answer: object = None
        if action == "tree":
            answer = repository.tree(path, recursive="recursive=true" in url.query.lower()) or None
        elif action == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
            answer = [entry for entry in repository.entries() if entry["path"] in wanted]
        elif action != "resolve":
            answer = repository.info()
        if answer is None:
            return self._refuse("EntryNotFound", commit)
        return self._send(HTTPStatus.OK, commit, answer)

    do_HEAD = do_POST = do_GET  # noqa: N815 - the base class's names

    def _send_file(self, file: _File, headers: dict[str, str]) -> None:
        headers |= {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes"}
        start, stop, status = 0, file.size, HTTPStatus.OK
        if asked := _RANGE.fullmatch(self.headers.get("Range", "")):
            first, last = asked.groups()
            start = int(first) if first else max(0, file.size - int(last))
            stop = min(file.size, int(last) + 1) if first and last else file.size
            if start >= stop:
                return self.start(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers, 0)
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        self.start(status, headers, stop - start)
        if self.command != "HEAD":
            with file.path.open("rb") as stream:
                stream.seek(start)
                for position in range(start, stop, _CHUNK):
                    self.wfile.write(stream.read(min(_CHUNK, stop - position)))
                    time.sleep(self.server.owner.pause)
        return None

    def _refuse(self, code: str, headers: dict[str, str] | None = None) -> None:
        status = HTTPStatus.FORBIDDEN if code == "GatedRepo" else HTTPStatus.NOT_FOUND
        self._send(status, {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})}, {"error": code})

    def _send(self, status: HTTPStatus, headers: dict[str, str], answer: object) -> None:
        data = json.dumps(answer).encode()
        self.start(status, {"Content-Type": "application/json", **headers}, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)


HubStandIn.handler = _Handler
