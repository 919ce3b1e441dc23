"""The words of a command line before Hydra reads them."""

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.cli.arguments import (
    check_options,
    complete,
    reject_duplicate_overrides,
    restore_folders,
    take_config_dir,
)
from framework.hooks.session import current


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["seed=1", "seed=2"], "seed=1 and seed=2 set the same key: give it once"),
        (["+adapter.r=1", "adapter.r=2"], "+adapter.r=1 and adapter.r=2 set the same key: give it once"),
        (["metric=[bleu, chrf,bleu]"], "metric=[bleu, chrf,bleu] names bleu twice: give it once"),
    ],
)
def test_a_key_or_an_option_that_is_given_twice_is_refused(words: list[str], text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        reject_duplicate_overrides(words)
    assert str(caught.value) == text


def test_words_that_only_look_alike_are_not_the_same_key() -> None:
    reject_duplicate_overrides(
        [
            "-m",
            "adapter=lora",
            "adapter.r=1",
            "--cfg",
            "job",
            "metric.exact_match.ignore_case=true",
            "adapter.rank_pattern={a: 1, b: 1}",
            "metric=[bleu,chrf]",
        ]
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hydra.run.dir=x"], "hydra.run.dir=x: the folder of a run is set with run_dir=FOLDER"),
        (["hydra.searchpath=[/etc]"], "hydra.searchpath=[/etc]: a folder of options is added with --config-dir FOLDER"),
        (["hydra.job.chdir=true"], "hydra.job.chdir=true: a run stays in the folder where it was started"),
        (["+hydra.swep.dir=x"], "unknown setting of Hydra 'swep'. Did you mean 'sweep'?"),
        (["seed=1", "-m", "adapter.r=1,2"], "put options such as -m before the first override"),
        (["seed=1", "--shell-completion"], "--shell-completion comes first, with install=bash or uninstall=bash"),
        (["--fast"], "unknown option '--fast'."),
    ],
)
def test_what_hydra_would_take_without_effect_is_refused(words: list[str], text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_options(words)
    assert text in str(caught.value)


def test_settings_of_hydra_that_do_something_pass() -> None:
    check_options(["-m", "hydra.sweep.dir=x", "+hydra.job.env_set.A=b", "seed=1,2"])


def test_the_help_of_hydra_itself_gets_no_experiment() -> None:
    assert complete(["--hydra-help"]) == ["--hydra-help"]


def test_config_dirs_are_taken_out_of_the_words(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="nowhere: there is no such folder"):
        take_config_dir(current(), ["--config-dir", str(tmp_path / "nowhere"), "seed=1"])


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_environment_of_an_earlier_run_is_reported_by_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "environment.json").write_text(content, encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"environment\.json does not match Environment of this version"):
        restore_folders(current(), [f"run_dir={tmp_path}"])
