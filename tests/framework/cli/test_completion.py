"""framework/cli/completion.py: what bash offers for a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.cli.completion import SCRIPT, complete_shell
from framework.hooks.session import current
from framework.util.errors import FrameworkError


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[str]]:
    """Return what asks for the completions of a line."""

    def ask(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", f"framework {line}")
        with current() as session:
            complete_shell(session, ["query=bash"])
        out, errors = capsys.readouterr()
        assert not errors
        return out.split()

    return ask


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("optimizer=adamw_t", {"optimizer=adamw_torch", "optimizer=adamw_torch_fused"}),
        ("data.overflow=t", {"data.overflow=truncate"}),
        ("-m trainer.keep_best=", {"trainer.keep_best=true", "trainer.keep_best=false"}),
        ("stages=[p", {"stages=[plan]"}),
        ("model=local adapter=lora adapter.lora_", {"adapter.lora_alpha=", "adapter.lora_dropout="}),
        ("+experiment=gpu_", {f"+experiment=gpu_{size}gb" for size in (8, 12, 16, 24)}),
        ("re", {"reference", "remove", "replace-api", "rerun", "resume", "reward=", "reward."}),
        ("resume outp", set()),
        ("nothing.of.that=", set()),
    ],
)
def test_a_line_is_completed(line: str, choices: set[str], offered: Callable[[str], list[str]]) -> None:
    assert set(offered(line)) == choices


def test_options_of_the_working_folder_are_offered_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: Callable[[str], list[str]]
) -> None:
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/tiny.yaml").write_text("defaults: [smollm2_135m]\n")
    monkeypatch.chdir(tmp_path)
    assert offered("model=t") == ["model=tiny"]


def test_another_shell_is_refused_with_what_there_is() -> None:
    with current() as session, pytest.raises(FrameworkError, match="install=bash, uninstall=bash"):
        complete_shell(session, ["install=fish"])


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        (f"{sys.executable} -m framework trainer.keep_best=t", ["true"]),  # = ends a word for bash
        ("python -m json.tool trainer.keep_best=t", []),
        ("python -m framewo", []),
    ],
)
def test_bash_completes_the_module_and_leaves_other_programs_alone(line: str, replies: list[str]) -> None:
    """In a real bash; the program starts once, about two seconds."""
    script = f"{SCRIPT}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}; _framework_completion; echo \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (replies, "")
