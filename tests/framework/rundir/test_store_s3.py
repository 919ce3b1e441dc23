"""A run on a real S3 server on loopback, moto's, which ends with the test.

It needs s3fs beside the program, `pip install -e '.[s3]'`, and the program `moto_server`, which `MOTO_SERVER` may name:
`pip install 'moto[server]'` in an environment of its own, since moto and Hydra need different versions of antlr4.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from framework.rundir.lease import newest
from framework.rundir.objects import Store
from tests.support.program import environment, framework
from tests.support.tiny import chat_rows, tiny_llama

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("s3fs")
MOTO = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")

WORDS = (
    "model=local", "model.path=model", "data=local_file", "data.path=rows.jsonl", "trainer.device=cpu",
    "trainer.dtype=fp32", "metric=[]", "evaluator=[]", "exporter=[adapter]", "logger=[jsonl]", "adapter.r=4",
    "trainer.max_steps=6", "trainer.save_steps=2", "audit=[]", "trainer.gradient_accumulation_steps=1",
    "data.validation_split=0.2", "adapter.lora_dropout=0.1",
    "trainer.save_total_limit=1",
)  # fmt: skip
URL = "s3://kept/runs/first"
KILLED = """
import os, signal, time
from framework.cli.main import main
from framework.rundir.objects import Store
from framework.rundir.store import saved_index
from framework_plugins.hf.train import progress

told = progress.Progress.on_log
def on_log(self, args, state, control, **more):
    told(self, args, state, control, **more)
    if state.global_step == 5:
        while not any("step-00000004/manifest" in name for name in saved_index(Store(os.environ["URL"])).files):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
progress.Progress.on_log = on_log
main()
"""


@dataclass(frozen=True)
class Server:
    """A server, and the variables with which the program finds it."""

    process: subprocess.Popen[bytes]
    env: Mapping[str, str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start a server with a bucket."""
    if MOTO is None:
        pytest.skip("MOTO_SERVER does not name the program of moto's server")
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    env = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    words = [MOTO, "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "server.txt").open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            made = "import fsspec; fsspec.filesystem('s3').call_s3('create_bucket', Bucket='kept')"
            wait(lambda: _answers(port))
            subprocess.run([sys.executable, "-c", made], env={**os.environ, **env}, check=True, timeout=60)
            fsspec.filesystem("s3").clear_instance_cache()  # those know the address of another test's server
            yield Server(process, env)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a working folder with a model and rows."""
    folder = tmp_path / "place"
    folder.mkdir()
    tiny_llama(folder / "model")
    lines = "".join(json.dumps(row) + "\n" for row in chat_rows(12))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    return folder


def machine(place: Path, server: Server, name: str) -> dict[str, str]:
    """Return the variables of a machine with a cache of its own."""
    return environment(
        place.parent, **server.env, FRAMEWORK_CACHE=str(place.parent / name), HF_HUB_OFFLINE="1", URL=URL
    )


def mirror(place: Path, name: str) -> Path:
    return place.parent / name / ".stores" / "s3" / "kept" / "runs" / "first"


@contextmanager
def found_by(server: Server) -> Iterator[Any]:
    """Let this process find the server, and return its file system."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in server.env.items():
            patched.setenv(name, value)
        yield fsspec.filesystem("s3")


def weights(folder: Path) -> dict[str, str]:
    files = (folder / "checkpoint").glob("*.safetensors")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_run_whose_machine_is_lost_ends_the_same_on_another(place: Path, server: Server) -> None:
    straight = framework(*WORDS, "run_dir=straight", cwd=place, env=machine(place, server, "none"))
    assert straight.returncode == 0, straight.stderr
    one, other, third = (machine(place, server, name) for name in ("one", "other", "third"))
    words = [sys.executable, "-c", KILLED, *WORDS, f"run_dir={URL}"]
    lost = subprocess.run(words, cwd=place, env=one, capture_output=True, text=True, check=False)
    assert lost.returncode == -9, lost.stderr
    with found_by(server) as system:
        files = json.loads(system.cat_file(f"{URL}/.store.json"))["files"]
    steps = {name.split("/")[1] for name in files if name.startswith(".resume/")}
    assert steps == {"step-00000004"}  # trainer.save_total_limit holds in the store too
    listed = framework("runs", "s3://kept/runs", cwd=place, env=third)
    assert f"{URL} " in listed.stdout, listed.stderr
    done = framework("resume", URL, cwd=place, env=other)
    assert done.returncode == 0, done.stderr
    assert "may still be running: waiting up to 60 s to find out" in done.stderr
    assert "the training continues after step 4, from .resume/step-00000004" in done.stderr
    assert weights(mirror(place, "other")) == weights(place / "straight")
    with found_by(server) as system:
        names = {name.removeprefix("kept/runs/first/") for name in system.find("kept/runs/first")}
    assert {"report.json", "status.json", "checkpoint/adapter_model.safetensors", ".store.json"} <= names
    assert not [name for name in names if ".resume" in name or name == ".completed.json"]
    assert "finished" in framework("runs", "s3://kept/runs", cwd=place, env=third).stdout
    asked = subprocess.run(
        [sys.executable, "-m", "framework", "chat", URL], cwd=place, env=third, input="hello\n", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr


def test_a_server_that_hangs_ends_the_run_after_the_setting_and_gets_the_rest_later(
    place: Path, server: Server
) -> None:
    one = machine(place, server, "one")
    words = [sys.executable, "-m", "framework", *WORDS, f"run_dir={URL}", "store_seconds=3"]
    with subprocess.Popen(words, cwd=place, env=one, stderr=subprocess.PIPE, text=True) as process:
        wait((mirror(place, "one") / "baseline.json").exists)
        server.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        wait((mirror(place, "one") / "report.json").exists)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 2, told
    assert time.monotonic() - start < 60
    assert "does not have all of the run" in told
    server.process.send_signal(signal.SIGCONT)
    sent = framework(f"run_dir={URL}", "stages=[report]", cwd=place, env=one)
    assert sent.returncode == 0, sent.stderr
    other = machine(place, server, "other")
    assert "finished" in framework("runs", "s3://kept/runs", cwd=place, env=other).stdout
    ended = framework(f"run_dir={URL}", "stages=[evaluate,report]", "trainer.device=cpu", cwd=place, env=other)
    assert ended.returncode == 0, ended.stderr


def test_a_second_start_is_refused_while_the_first_lives_since_the_server_refuses_its_write(
    place: Path, server: Server
) -> None:
    endless = [word.replace("max_steps=6", "max_steps=100000") for word in WORDS]
    words = [sys.executable, "-m", "framework", *endless, f"run_dir={URL}"]
    with subprocess.Popen(
        words, cwd=place, env=machine(place, server, "one"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        wait((mirror(place, "one") / "baseline.json").exists)
        second = framework("resume", URL, cwd=place, env=machine(place, server, "other"))
        first.terminate()
        told = first.communicate(timeout=120)[1]
    assert (second.returncode, first.returncode) == (2, 143), (second.stderr, told)
    last = second.stderr.strip().splitlines()[-1]
    assert f"{URL}: locked by process {first.pid} on " in last
    assert last.endswith(" UTC). Wait for it to finish or set another run_dir")
    assert "conditional writes" not in told
    with found_by(server):
        store = Store(URL)
        assert [store.create("once", b"1"), store.create("once", b"2"), store.read("once")] == [True, False, b"1"]
        assert newest(store)[1].holder == ""  # what a signal ends leaves the folder to others at once


@pytest.mark.parametrize(
    ("url", "fix"), [("s3://absent/run", "Make the bucket first"), ("s3://kept/run", "Check the network and the")]
)
def test_a_wrong_bucket_and_a_server_that_is_not_there_are_refused(
    place: Path, server: Server, url: str, fix: str
) -> None:
    env = machine(place, server, "one")
    if "kept" in url:
        env |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = framework(*WORDS, f"run_dir={url}", cwd=place, env=env)
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (2, 2), done.stderr
    assert fix in lines[1] or "Check the URL and the network" in lines[1]
