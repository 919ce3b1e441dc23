"""tests/support/forks.py: a fork prints and ends as a process of its own does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import Container, DictConfig, Node

from framework.config.compose import compose
from tests.support.forked_program import ECHO, MODULE, execute, launch

CHOSEN = {
    "conf/experiment/chosen.yaml": "# @package _global_\ndefaults:\n  - sub: ${mine}\n  - /mine: five\n  - _self_\n",
    "conf/experiment/sub/five.yaml": "# @package _global_\nseed: 5\n",
    "conf/mine/five.yaml": "# @package _global_\nname: five\n",
}
"""An experiment whose defaults list interpolates a choice."""
MERGE, MAP = "_compose_config_from_defaults_list", "_create_interpolation_map"
RAISES = "import atexit; atexit.register(print, 'the end'); raise LookupError('lost')"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (MODULE, ["stages=[plan]", "run_dir=run", "plugins=[./mine.py]"]),
        (ECHO, ["model=echo", "trainer=echo", "+experiment=chosen", "--info", "defaults"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fork_gives_what_a_start_gives(tmp_path: Path, command: tuple[str, ...], words: list[str]) -> None:
    results = []
    for run in (execute, launch):
        folder = tmp_path / run.__name__ / "here"
        folder.mkdir(parents=True)
        for name, text in CHOSEN.items() if "+experiment=chosen" in words else ():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "mine.py").write_text("import sys; print(sys.argv[1:], sys.path[:2])\n", encoding="utf-8")
        done = run(command, *words, cwd=folder, env={"MINE": "1", "PYTHONPATH": str(folder / "more")})
        told = [text.replace(str(folder), "HERE") for text in (done.out, done.err)]
        results.append((done.code, told, sorted(path.relative_to(folder) for path in folder.rglob("*.json"))))
    assert results[0] == results[1]


def test_what_is_merged_once_is_what_hydra_merges_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["model=echo", "trainer=echo", "data=local_file", "+metric=[exact_match]", "hydra/sweeper=optuna5"]
    ours = [compose(words), compose(words)]
    monkeypatch.setattr(ConfigLoaderImpl, MERGE, getattr(ConfigLoaderImpl, MERGE).__wrapped__)
    monkeypatch.setattr(defaults_list, MAP, getattr(defaults_list, MAP).__wrapped__)
    plain = parts(compose(words))
    assert [parts(config) for config in ours] == [plain, plain]


def parts(config: DictConfig) -> list[tuple[object, ...]]:
    """Return each value with its place, type and flags."""
    found, left = list[tuple[object, ...]](), list[Node]([config])
    while left:
        node = left.pop()
        told, value = node._metadata, None if isinstance(node, Container) else node._value()  # noqa: SLF001
        found.append((node._get_full_key(None), type(node), value, told.ref_type, told.object_type, told.flags))  # noqa: SLF001
        if isinstance(node, Container) and isinstance(inner := node._content, dict | list):  # noqa: SLF001
            left += inner.values() if isinstance(inner, dict) else inner
    return found


def test_files_of_a_user_are_merged_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    for seed in (7, 8):
        text = f"# @package _global_\nseed: {seed}\n"
        (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
        assert compose(["+experiment=mine"]).seed == seed


def test_what_ends_a_fork_is_reported_as_python_tells_it_and_the_next_one_knows_nothing_of_it(tmp_path: Path) -> None:
    python = MODULE[0]
    done = launch((python, "-c", RAISES), cwd=tmp_path)
    assert (done.code, done.out) == (1, "the end\n")
    assert done.err.splitlines()[0] == "Traceback (most recent call last):"
    assert done.err.splitlines()[-1] == "LookupError: lost"
    kill = "import os, sys; os.environ['LEFT'] = sys.left = '1'; os.kill(os.getpid(), 9)"
    assert launch((python, "-c", kill), cwd=tmp_path).code == -signal.SIGKILL
    look = "import os, sys; print(os.environ.get('LEFT'), hasattr(sys, 'left'), os.getcwd(), sys.stdin.read())"
    assert launch((python, "-c", look), cwd=tmp_path).out == f"None False {tmp_path} \n"
