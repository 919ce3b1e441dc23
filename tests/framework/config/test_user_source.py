"""YAML of a user that cannot be read in bounded time is refused in one line that names the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.cli.main import main
from framework.plan.load import load_plan

GLOBAL = "# @package _global_\n"
LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, name in zip(["", *"abcdef"], "abcdefg", strict=True)
)
"""Millions of values in seven lines."""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of experiments of a user's own working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    return folder


def told(*words: str) -> list[str]:
    """Return the error of words that are refused."""
    with pytest.raises(FrameworkError) as caught:
        load_plan(words)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GLOBAL}defaults:\n  - mine\n", "conf/experiment/mine.yaml:3: the defaults lists of these files lead back"),
        (f"{GLOBAL}{LAUGHS}name: *g\n", ": more than 5,000 values with all *aliases expanded"),
        (f"{GLOBAL}name: {'[' * 3000}{']' * 3000}\n", "conf/experiment/mine.yaml:2: nested more than 50 levels deep"),
        (f"{GLOBAL}name: &a [*a]\n", "conf/experiment/mine.yaml:2: *a is inside the block that it refers to"),
        (f"{GLOBAL}name: {'x' * 100_000}\n", "conf/experiment/mine.yaml has more than 100,000 bytes"),
        ("", "conf/experiment/mine.yaml: the experiment sets nothing: make '# @package _global_' its first line"),
        ("# soon\n", "conf/experiment/mine.yaml: the experiment sets nothing"),
        (GLOBAL, "conf/experiment/mine.yaml: the experiment sets nothing"),
        (f"{GLOBAL}hydra: 5\n", "conf/experiment/mine.yaml:2: hydra=5 must be a group of settings"),
        (f"{GLOBAL}seed: {'9' * 4_301}\n", "conf/experiment/mine.yaml:2: a number with more than 4,300 digits"),
        ("5\n", "conf/experiment/mine.yaml:1: a config file has to hold keys and values"),
        ("seed: 1\n~: 1\n", "conf/experiment/mine.yaml:2: the key '~' is not text"),
        ("? {a: 1}\n: 5\n", "conf/experiment/mine.yaml:1: a key is not text"),
        ("seed: !!int abc\n", "conf/experiment/mine.yaml:1: !!int 'abc' is not such a value"),
        ("name: !!set {a}\n", "conf/experiment/mine.yaml:1: a config has no tags such as !!set"),
        ("seed: 1\nname: 'a\0b'\n", "conf/experiment/mine.yaml:2: YAML does not allow the character U+0000"),
        ("defaults: {a: b}\n", "conf/experiment/mine.yaml:1: 'defaults' is a list, whose entries are written '- NAME'"),
        ("defaults: ['${nope}']\n", "conf/experiment/mine.yaml:1: defaults: Interpolation key 'nope' not found"),
        ("defaults: [5]\n", "conf/experiment/mine.yaml:1: 'defaults' is a list"),
        ("defaults:\n  - base\n  - {override /adapter: null}\n", "conf/experiment/mine.yaml:3: 'defaults' is a list"),
        ("defaults: [{override /metric: [[a]]}]\n", "conf/experiment/mine.yaml:1: 'defaults' is a list"),
        ("defaults: [{override /metric: [a, a]}]\n", "conf/experiment/mine.yaml:1: names a twice: give it once"),
        ("defaults: [/etc/passwd]\n", "conf/experiment/mine.yaml:1: unknown etc 'passwd'"),
        ("seed: 1\nname: ${\n", "conf/experiment/mine.yaml:2: ${ is not a valid reference: "),
    ],
)
def test_yaml_that_has_no_end_or_cannot_be_a_config_is_refused_in_one_line(conf: Path, text: str, message: str) -> None:
    (conf / "mine.yaml").write_text(text, encoding="utf-8")
    (line,) = told("+experiment=mine")
    assert message in line


def test_two_files_that_are_built_on_each_other_are_refused(conf: Path) -> None:
    for name, other in (("mine", "yours"), ("yours", "mine")):
        (conf / f"{name}.yaml").write_text(f"{GLOBAL}defaults:\n  - {other}\n", encoding="utf-8")
    (line,) = told("+experiment=mine")
    assert line.startswith("conf/experiment/yours.yaml:3: the defaults lists of these files lead back to this entry")


def test_a_file_that_is_no_utf8_is_named_with_its_line(conf: Path) -> None:
    (conf / "mine.yaml").write_bytes(b"# @package _global_\nname: caf\xe9\n")
    (line,) = told("+experiment=mine")
    assert line.startswith("conf/experiment/mine.yaml:2: not UTF-8")


def test_what_the_run_does_not_read_is_not_looked_at(conf: Path) -> None:
    (conf / "bomb.yaml").write_text(f"{GLOBAL}{LAUGHS}", encoding="utf-8")
    (conf / "mine.yaml").write_text(f"{GLOBAL}defaults:\n  - /base@_here_: small\nseed: 7\n", encoding="utf-8")
    (conf.parent / "base").mkdir()
    (conf.parent / "base" / "small.yaml").write_text("trainer:\n  max_steps: 3\n", encoding="utf-8")
    plan = load_plan(["+experiment=mine", "model=smollm2_135m", "data=orders"], run_dir=conf)
    assert (plan.seed, plan.training.max_steps) == (7, 3)


def test_of_many_problems_the_first_are_reported_and_the_others_counted() -> None:
    lines = told(*(f"+trainer.key{number}=1" for number in range(24)))
    assert len(lines) == 21
    assert lines[-1].startswith("and 4 more problems")
    assert told(*(f"+trainer.key{number}=1" for number in range(21)))[-1] == "and 1 more problem"
    lines = told(*(f"trainer.key{number}=1" for number in range(24)))
    assert len(lines) == 21


def test_a_setting_that_is_deleted_says_what_to_do_instead() -> None:
    (line,) = told("~trainer.learning_rate")
    assert line.startswith("~trainer.learning_rate: a setting cannot be deleted")


def test_a_word_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["framework", "name=\udcff"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "'name=\\udcff': the argument is not UTF-8 text\n"
