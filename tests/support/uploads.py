"""A stand-in for the side of the Hugging Face Hub that takes uploads, on loopback: repositories, LFS, commits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tests.support.loopback import Handler, Loopback

_REPOSITORY = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/(?P<action>preupload|commit)/main)?")
_LFS = re.compile(r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
_LARGE = (".safetensors", ".gguf")


@dataclass
class Repository:
    """What a repository holds: its owner, whether it is private, the files of its last commit, and all summaries."""

    owner: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class UploadStandIn(Loopback):
    """Take uploads.

    Attributes:
        users: names by their tokens.
        repositories: what there is, by id.
        broken: the beginning of a path; requests for it fail with 400, since the library tries again after a 500.
    """

    def __init__(self, users: Mapping[str, str], repositories: dict[str, Repository] | None = None) -> None:
        self.users = users
        self.repositories = repositories or {}
        self.broken = ""
        self.stored: dict[str, bytes] = {}

    def create(self, user: str, asked: Mapping[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        """Make a repository, in one's own name only."""
        owner = asked.get("organization") or user
        name = f"{owner}/{asked['name']}"
        if owner != user:
            return HTTPStatus.FORBIDDEN, {"error": f"You don't have the rights to create a model under {owner}"}
        if name in self.repositories:
            return HTTPStatus.CONFLICT, {"error": "You already created this model repo"}
        private = asked.get("private") is True or asked.get("visibility") == "private"
        self.repositories[name] = Repository(owner, private)
        return HTTPStatus.OK, {"url": f"{self.url}/{name}"}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[HTTPStatus, dict[str, Any]]:
        """Take the files of a commit; the large ones have been stored before."""
        repository = self.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                repository.files[value["path"]] = self.stored[value["oid"]]
        number = f"{len(repository.commits):040}"
        return HTTPStatus.OK, {"commitUrl": f"{self.url}/{name}/commit/{number}", "commitOid": number}


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        body = b"".join(self._body())
        path = self.path.partition("?")[0]
        user = self.server.owner.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.server.owner.broken and path.startswith(self.server.owner.broken):
            self._send(HTTPStatus.BAD_REQUEST, {"error": "broken"})
        elif path.startswith("/lfs/"):
            self.server.owner.stored[path.removeprefix("/lfs/")] = body
            self._send(HTTPStatus.OK, {})
        elif user is None:
            invalid = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(HTTPStatus.UNAUTHORIZED, {"error": "Invalid credentials"}, invalid)
        else:
            self._send(*self._answer(path, body, user))

    do_GET = do_PUT = do_POST  # noqa: N815 - the base class's names

    def _body(self) -> Iterator[bytes]:
        """Give what is sent, chunk by chunk where its length is not told."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, path: str, body: bytes, user: str) -> tuple[HTTPStatus, dict[str, Any]]:
        hub: UploadStandIn = self.server.owner
        if path == "/api/repos/create":
            return hub.create(user, json.loads(body))
        if path == "/api/validate-yaml":
            return HTTPStatus.OK, {"errors": [], "warnings": []}
        if _LFS.fullmatch(path):
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}", "header": {}}}}
                for each in json.loads(body)["objects"]
            ]
            return HTTPStatus.OK, {"objects": objects, "transfer": "basic"}
        return self._of_repository(path, body, user)

    def _of_repository(self, path: str, body: bytes, user: str) -> tuple[HTTPStatus, dict[str, Any]]:
        hub: UploadStandIn = self.server.owner
        route = _REPOSITORY.fullmatch(path)
        repository = hub.repositories.get(route["name"]) if route else None
        if route is None or repository is None or (repository.private and repository.owner != user):
            return HTTPStatus.NOT_FOUND, {"error": "Repository not found"}
        if route["action"] is None:
            return HTTPStatus.OK, {"id": route["name"], "sha": "0" * 40, "private": repository.private, "siblings": []}
        if repository.owner != user:
            return HTTPStatus.FORBIDDEN, {"error": "You are not allowed to write here"}
        if route["action"] == "preupload":
            return HTTPStatus.OK, {"files": [_mode(each["path"]) for each in json.loads(body)["files"]]}
        return hub.commit(route["name"], [json.loads(line) for line in body.splitlines()])

    def _send(self, status: HTTPStatus, answer: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        code = {"X-Error-Code": "RepoNotFound"} if status is HTTPStatus.NOT_FOUND else {}
        self.start(status, {**code, **(headers or {})}, len(data))
        self.wfile.write(data)


UploadStandIn.handler = _Handler


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(_LARGE) else "regular", "shouldIgnore": False}
