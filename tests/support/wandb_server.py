"""A server of W&B on loopback: takes runs as W&B's own process sends them, and can be made to die."""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class SentRun:
    """The end of one run: the last variables of its mutation, its history by line, and how it ended."""

    about: dict[str, Any]
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None
    complete: bool = False


class WandbStandIn:
    """Serves until it is left.

    Args:
        then: what it does when it has taken the beginning of a run: it `answers` on, `dies`, or `hangs`, where it takes
            connections and answers none of them.
    """

    def __init__(self, then: str = "answers") -> None:
        self.runs: dict[str, SentRun] = {}
        self.operations: list[str] = []
        self.artifacts: list[dict[str, Any]] = []
        self.then = then
        self.over = threading.Event()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.dead = False

    def __enter__(self) -> Self:
        """Start."""
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.over.set()
        if not self.dead:
            self.die()

    def die(self) -> None:
        """Refuse all connections from now on."""
        self.dead = True
        self.server.shutdown()
        self.server.server_close()

    def query(self, text: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer what GraphQL asks."""
        name = str(variables.get("name") or variables.get("run") or "")
        if "upsertBucket" in text:
            return {"upsertBucket": self._upsert(name, variables)}
        if "bucket(name: $name" in text:
            return {"model": {"entity": {"name": "me"}, "bucket": self._resume(name)}}
        if "createRunFiles" in text:
            files = [{"name": file, "uploadUrl": f"{self.url}/put/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        if "createArtifact(" in text:
            self.artifacts.append(variables["input"])
            sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        user = {"id": "u", "entity": "me", "username": "me", "teams": {"edges": []}, "flags": "{}"}
        return {"viewer": user, "project": None}

    def _upsert(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        new = name not in self.runs
        run = self.runs.setdefault(name, SentRun({}))
        run.about |= {key: value for key, value in variables.items() if value is not None}
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        bucket = {"id": name, "name": name, "displayName": run.about.get("displayName"), "project": project}
        return {"bucket": {**bucket, "historyLineCount": len(run.history)}, "inserted": new}

    def _resume(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        last = run.history[max(run.history)] if run.history else {}
        counts = {"logLineCount": 0, "historyLineCount": len(run.history), "eventsLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(last)]), "eventsTail": "[]", "summaryMetrics": "{}"}
        return {"name": name, **counts, **tails, "config": "{}", "wandbConfig": '{"t": 1}', "tags": []}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        """Take what a run logs."""
        run = self.runs.setdefault(name, SentRun({}))
        part = body.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        run.history |= {part["offset"] + number: json.loads(line) for number, line in enumerate(part["content"])}
        if body.get("complete"):
            run.complete, run.exit_code = True, body.get("exitcode")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone."""


def _handler(stand_in: WandbStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            if stand_in.then == "hangs" and stand_in.runs:
                stand_in.over.wait()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer: dict[str, Any] = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                stand_in.operations.append(asked.get("operationName") or "")
                answer = {"data": stand_in.query(asked["query"], asked.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                name = self.path.split("/")[-2]
                stand_in.stream(name, json.loads(body))
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            if stand_in.then == "dies" and stand_in.runs and not stand_in.dead:
                stand_in.dead = self.close_connection = True
                threading.Thread(target=stand_in.die).start()

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names that http.server asks for

    return Handler
