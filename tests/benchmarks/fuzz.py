"""Bounded fuzz of third-party input: `python tests/benchmarks/fuzz.py [SECONDS] [KIND…]`.

Hypothesis draws overrides, YAML, rows, chat templates, model folders and adapter folders, mostly good ones with
something changed, and runs each through the command line: a fork of this process calls `framework.cli.main.main`. A
case fails where it prints a traceback, ends with another code than 0 or 2, takes longer than ten seconds of processor
time, needs more than 2 GB beyond what this process has, or leaves a file outside its run folder and the cache. The
first failure of a kind is printed, made small by Hypothesis, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

ROOT = Path(__file__).parents[2]
SECONDS, WALL, MEMORY = 10, 600.0, 2 << 30
"""Of a case: seconds of processor time, seconds until a process that waits for nothing is found, bytes."""
ROUND = 10
"""Cases between two looks at the clock; those of making a fault small are not counted."""
KINDS = ("overrides", "yaml", "rows", "templates", "models", "adapters")
WORDS = ("data=local_file", "trainer.device=cpu", "trainer.dtype=fp32", "metric=[exact_match]", "evaluator=[]")
MORE = ("logger=[console]", "run_dir=run", "trainer.max_steps=1", "audit=[]", "exporter=[]")


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    code: int
    text: str
    left: tuple[str, ...]

    @property
    def fault(self) -> str:
        """What may not happen; empty where it did not."""
        if "Traceback (most recent call last)" in self.text:
            return f"a traceback: {self.text.strip().splitlines()[-1]}"
        if self.code not in {0, 2}:
            return f"exit code {self.code}: {self.text[-300:]}"
        if self.code == 2 and not self.text.strip():
            return "refused without a word"
        return f"files left: {', '.join(self.left)}" if self.left else ""


def run(words: list[str], place: Path) -> Outcome:
    """Run the command line in a fork, in a folder of its own."""
    before = _files(place)
    log = place.parent / "log"
    child = os.fork()
    if child == 0:
        _main(words, place, log)
    end = time.monotonic() + WALL
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(-signal.SIGKILL, "no end", ())
        time.sleep(0.01)
    left = sorted(str(path.relative_to(place)) for path in _files(place) - before)
    outside = tuple(name for name in left if not name.startswith(("run/", "cache/")))
    return Outcome(os.waitstatus_to_exitcode(ended[1]), log.read_text(encoding="utf-8", errors="replace"), outside)


def _files(place: Path) -> set[Path]:
    return {Path(folder, name) for folder, _, names in os.walk(place) for name in names}


def _main(words: list[str], place: Path, log: Path) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(place)
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, 1)
        os.dup2(opened, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, errors="backslashreplace") for number in (1, 2))
        for name in ("cache", "home", "tmp"):
            (place / name).mkdir()
        os.environ |= {"FRAMEWORK_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
        os.environ |= {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
        tempfile.tempdir = None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["framework", *words]
        from framework.cli.main import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - a traceback is a fault of the case
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# ---- what is drawn

TEXT = st.text(max_size=20)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXT,
    st.sampled_from(["", "null", "${", "${oc.env:HOME}", "../..", "/etc/passwd", "a" * 500, "\x1b[31m", "[", "{a:1}"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


def _keys() -> list[str]:
    from framework.api.component import GROUPS

    fields = ("learning_rate", "max_steps", "max_seq_length", "per_device_train_batch_size", "packing", "dtype")
    own = [f"trainer.{name}" for name in fields]
    return [
        *GROUPS,
        *own,
        "seed",
        "name",
        "stages",
        "objective",
        "adapter.r",
        "adapter.target_modules",
        "format.columns",
        "data.mix",
        "data.max_rows",
        "checkpoint",
        "model.chat_template_kwargs",
        "plan.gpu",
        "health",
        "experiment",
    ]


@st.composite
def overrides(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw words of a command line."""
    number = draw(st.integers(1, 4))
    drawn = []
    for _ in range(number):
        prefix = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
        value = draw(SCALARS)
        shown = value if isinstance(value, str) else json.dumps(value)
        drawn.append(f"{prefix}{draw(st.sampled_from(_keys()))}={shown}".replace("\0", ""))
    return [*_good(good), "stages=[plan]", *drawn], lambda _: None


def _good(good: Path) -> list[str]:
    return ["model=local", f"model.path={good / 'base'}", f"data.path={good / 'rows.jsonl'}", *WORDS, *MORE]


PIECES = st.sampled_from(
    [
        "# @package _global_\n",
        "defaults:\n",
        "  - mine\n",
        "  - override /trainer: hf\n",
        "trainer:\n",
        "  max_steps: 3\n",
        "a: &a [*a]\n",
        "b: *a\n",
        "b: &b {x: 1}\n",
        "<<: *b\n",
        "[[[[",
        "name: x\n",
        "name: !!python/object/apply:os.getcwd []\n",
        "\t",
        "---\n",
        "...\n",
        "? x\n",
        "- 1\n",
        "é\n",
        "  learning_rate: .nan\n",
        "seed: 0x1F\n",
        "hydra:\n  job: 1\n",
        "\ufeff",
    ]
)


@st.composite
def yaml(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw an experiment."""
    pieces = draw(st.lists(PIECES | TEXT, max_size=8))
    content = "".join(pieces).encode("utf-8", "surrogatepass") + draw(st.binary(max_size=4))

    def write(place: Path) -> None:
        (place / "conf" / "experiment").mkdir(parents=True)
        (place / "conf" / "experiment" / "mine.yaml").write_bytes(content)

    return ["+experiment=mine", *_good(good), "stages=[plan]"], write


ROW = st.dictionaries(
    st.sampled_from(["instruction", "input", "output", "messages", "text", "prompt", "completion", "tools"]) | TEXT,
    JSON | st.lists(st.fixed_dictionaries({"role": TEXT | st.sampled_from(["user", "assistant"]), "content": JSON})),
    max_size=4,
)


@st.composite
def rows(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw a file of rows."""
    lines = draw(st.lists(ROW, min_size=1, max_size=6))
    kind = draw(st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow", ".jsonl.gz"]))
    content = "".join(json.dumps(line) + "\n" for line in lines).encode("utf-8", "surrogatepass")
    content = draw(st.sampled_from([content, content[: len(content) // 2], content + draw(st.binary(max_size=20))]))
    words = [word for word in _good(good) if not word.startswith("data.path=")]
    return [
        *words,
        f"data.path=r{kind}",
        "stages=[data]",
    ], lambda place: _put(place / f"r{kind}", content)


PARTS = st.sampled_from(
    [
        "{% for m in messages %}",
        "{% endfor %}",
        "{{ m.content }}",
        "{{ m['role'] }}",
        "{% if tools %}",
        "{% endif %}",
        "{% for i in range(99999) %}",
        "{{ 'a' * 10**9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 9**9**9 }}",
        "{% macro f() %}{{ f() }}",
        "{% endmacro %}{{ f() }}",
        "{{ raise_exception('no') }}",
        "{{ messages[9].content }}",
        "{{ ''.__class__ }}",
        "<|im_end|>",
        "{% set x = messages %}",
        "{{ x | tojson }}",
        "{% generation %}",
        "{% endgeneration %}",
        "{{ bos_token }}",
        "{{",
    ]
)


@st.composite
def templates(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw a chat template, from pieces or from a good one with a piece before it."""
    own = "".join(draw(st.lists(PARTS | TEXT, max_size=8)))
    known = (good / "base" / "chat_template.jinja").read_text(encoding="utf-8")
    content = draw(st.sampled_from([own, own + known, known + own]))
    words = [*_good(good), "stages=[data]", "model.chat_template=t.jinja"]
    return words, lambda place: _put(place / "t.jinja", content.encode("utf-8", "surrogatepass"))


def _put(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _changed(draw: DrawFn, file: Path) -> bytes:
    """Draw another content of a file of a model."""
    content = file.read_bytes()
    if file.suffix == ".json" and draw(st.booleans()):
        held = json.loads(content)
        for _ in range(draw(st.integers(1, 2))):
            key = draw(st.sampled_from(sorted(held)) | TEXT)
            held = {**held, key: draw(JSON)} if draw(st.booleans()) else {k: v for k, v in held.items() if k != key}
        return json.dumps(held).encode()
    if file.suffix == ".safetensors" and draw(st.booleans()):
        return struct.pack("<Q", draw(st.integers(0, 2**64 - 1))) + content[8:]
    at = draw(st.integers(0, len(content)))
    return draw(st.sampled_from([content[:at], content[:at] + draw(st.binary(max_size=8)) + content[at:], b"", b"[]"]))


@st.composite
def models(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw a model folder with a file changed."""
    file = draw(st.sampled_from(sorted(path for path in (good / "base").iterdir() if path.is_file())))
    content = _changed(draw, file)

    def write(place: Path) -> None:
        shutil.copytree(good / "base", place / "m")
        (place / "m" / file.name).write_bytes(content)

    words = [word for word in _good(good) if not word.startswith("model.path=")]
    return [*words, "model.path=m", "stages=[data]"], write


@st.composite
def adapters(draw: DrawFn, good: Path) -> tuple[list[str], Callable[[Path], None]]:
    """Draw an adapter folder with a file changed."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    file = good / "adapter" / draw(st.sampled_from(names))
    content = _changed(draw, file)

    def write(place: Path) -> None:
        shutil.copytree(good / "adapter", place / "a")
        (place / "a" / file.name).write_bytes(content)

    return [*_good(good), "checkpoint=a", "stages=[evaluate]", "objective=train_loss"], write


def attempt(kind: str, good: Path, seconds: float, count: dict[str, int]) -> str:
    """Draw and run cases of one kind for a while; return the first fault, as small as it was made."""
    draws: Mapping[str, Callable[[Path], SearchStrategy[Any]]] = {
        each.__name__: each for each in (overrides, yaml, rows, templates, models, adapters)
    }
    end, found = time.monotonic() + seconds, ""

    def one(case: tuple[list[str], Callable[[Path], None]]) -> None:
        nonlocal found
        words, write = case
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            place = Path(folder, "place")
            place.mkdir()
            write(place)
            outcome = run(words, place)
            count[kind] = count.get(kind, 0) + 1
            if outcome.fault:
                files = {
                    str(path.relative_to(place)): path.read_bytes()[:300]
                    for path in sorted(_files(place))
                    if path.stat().st_size < 5000 and "cache/" not in str(path)
                }
                found = f"{kind}: {outcome.fault}\n  {words[-4:]}\n  {files}"
            assert not outcome.fault, outcome.fault

    chosen = settings(
        max_examples=ROUND, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    number = int(time.time())
    while time.monotonic() < end:  # in rounds, since Hypothesis has no limit of time
        try:
            seed(number)(chosen(given(draws[kind](good))(one)))()
        except AssertionError:
            return found
        except BaseException as error:  # noqa: BLE001 - of Hypothesis, where a fault does not come again
            return found or f"{kind}: {error!r}\n"
        number += 1
    return ""


def prepared(folder: Path) -> Path:
    """Write the good model, adapter and rows from which cases are made."""
    from tests.support.bases import adapted
    from tests.support.tiny import chat_rows, tiny_llama

    adapted(tiny_llama(folder / "base", hidden_size=16), folder / "adapter", r=2)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    return folder


def main(seconds: float, kinds: list[str]) -> Iterator[str]:
    """Give a line for each kind, and for each fault."""
    import torch

    from tests.support.forks import prepare

    torch.set_num_threads(1)
    prepare(
        "framework.cli.main", "framework_plugins.hf.backend", "pyarrow.parquet", "framework_plugins.formats.readers"
    )
    with tempfile.TemporaryDirectory(prefix="fuzz-good-") as folder:
        good, count = prepared(Path(folder)), dict[str, int]()
        for kind in kinds:
            if fault := attempt(kind, good, seconds / len(kinds), count):
                yield fault
            yield f"{kind}: {count.get(kind, 0)} cases"


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]
    faults = 0
    for line in main(float((sys.argv[1:] or ["300"])[0]), sys.argv[2:] or list(KINDS)):
        faults += "\n" in line
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.exit(int(faults > 0))
