"""The config is closed: what nothing reads is refused with the nearest name, however it was written."""

import dataclasses
import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework import FrameworkError
from framework.check import check, explain, unknown_key
from framework.component import GROUPS
from framework.compose import compose
from framework.plugins import components
from framework.schema import RunConfig
from tests.framework.program import program

RATE = "unknown key 'trainer.lerning_rate'. Did you mean 'trainer.learning_rate'? Valid in trainer: "


def refusal(*words: str) -> str:
    """Return what the command line says to these overrides, and fail where they are accepted."""
    with pytest.raises((CompactHydraException, OmegaConfBaseException)) as caught:
        check(compose(words))
    return explain(caught.value)


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_an_unknown_key_is_refused_however_it_is_written(prefix: str) -> None:
    assert refusal(f"{prefix}trainer.lerning_rate=1").startswith(RATE)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sed=1"], "unknown key 'sed'. Did you mean 'seed'?"),
        (["+sed=1"], "unknown key 'sed'. Did you mean 'seed'?"),
        (["evaluator.prompts.cuont=1"], "unknown key 'evaluator.prompts.cuont'. Did you mean 'evaluator.prompts.count"),
        (["evaluator.promts.count=1"], "unknown key 'evaluator.promts'. Did you mean 'evaluator.prompts'?"),
        (["+metric.exact_match.ignorecase=true"], "Did you mean 'metric.exact_match.ignore_case'?"),
        (["format.zzz=1"], "unknown key 'format.zzz'. Valid in format: nothing to set."),
        (["adapter=loro"], "unknown adapter 'loro'. Did you mean 'lora'? Valid: dora, full, lora, rslora."),
        (["metric=[exact_mtch]"], "unknown metric 'exact_mtch'. Did you mean 'exact_match'? Valid: exact_match, json"),
        (["+experiment=quickstar"], "unknown experiment 'quickstar'. Did you mean 'quickstart'? Valid: "),
        (["experiment=quickstart"], "unknown config group 'experiment'. Did you mean '+experiment'?"),
        (["data=local_file"], "data.path has no value: set data.path=…"),
        (["trainer.learning_rate=fast"], "trainer.learning_rate: Value 'fast' of type 'str' could not be converted"),
        (["stages=[plon]"], "stages: Invalid value 'plon', expected one of [plan, data,"),
        (["adapter.r=null"], "adapter.r: field 'adapter.r' is not Optional"),
        (["seed=[1"], "cannot read 'seed=[1': "),
        (["data.overflow=trim"], "data.overflow: Invalid value 'trim', expected one of [drop, truncate, fail]"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_with_key_and_choices(words: list[str], text: str) -> None:
    said = refusal(*words)
    assert text in said
    assert "\n" not in said


def test_all_problems_come_in_one_message() -> None:
    said = refusal("data=local_file", "model=local", "+trainer.lerning_rate=1", "+adapter.rank=8").splitlines()
    assert said[0].startswith("unknown key 'adapter.rank'.")
    assert said[1].startswith(RATE)
    assert said[2:] == ["data.path has no value: set data.path=…", "model.path has no value: set model.path=…"]


def test_what_is_built_on_no_option_is_refused() -> None:
    said = refusal("+experiment=quickstart", "~trainer")
    assert said.startswith("trainer is built on no option of 'trainer': start its defaults list with one of echo, hf")


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("trainer:\n  lerning_rate: 1\n", f"In 'experiment/mine': {RATE}"),
        ("trainr: {}\n", "In 'experiment/mine': unknown key 'trainr'. Did you mean 'trainer'?"),
        ("trainer:\n  learning_rate: x\n", "In 'experiment/mine': trainer.learning_rate: Value 'x' of type 'str'"),
        ("trainer: [\n", "mine.yaml:3: no YAML: expected the node content"),
        ("defaults:\n  - override /adapter: loro\n", "unknown adapter 'loro'. Did you mean 'lora'?"),
    ],
    ids=["nested key", "top key", "type", "syntax", "option"],
)
def test_mistakes_in_a_users_yaml_are_told_in_one_line(tmp_path: Path, yaml: str, text: str) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"# @package _global_\n{yaml}", encoding="utf-8")
    result = program("--config-dir", "conf", "+experiment=mine", cwd=tmp_path)
    (line,) = result.err.splitlines()
    assert text in line
    assert (result.code, result.out) == (2, "")


def places() -> Iterator[tuple[DictConfig, str, list[str]]]:
    """Give each registered schema in a composed config: the config, the key below which it stands, its fields."""
    yield compose(), "", [field.name for field in dataclasses.fields(RunConfig)]
    for group in GROUPS.values():
        for option, component in components(group).items():
            config = compose([f"{group.name}=[{option}]" if group.several else f"{group.name}={option}"])
            for missing in OmegaConf.missing_keys(config):
                OmegaConf.update(config, missing, "x")
            path = f"{group.name}.{option}" if group.several else group.name
            yield config, path, [field.name for field in dataclasses.fields(component.schema)]


def typo(word: str, random_: random.Random) -> str:
    """Change one letter, drop one, add one, or swap two neighbours."""
    place = random_.randrange(len(word))
    letter = random_.choice(string.ascii_lowercase)
    swapped = word[:place] + word[place + 1 : place + 2] + word[place] + word[place + 2 :]
    changes = [word[:place] + letter + word[place + 1 :], word[:place] + letter + word[place:], swapped]
    return random_.choice([*changes, word[:place] + word[place + 1 :]] if len(word) > 1 else changes)


def test_a_typo_of_any_field_is_refused_and_the_field_is_the_first_suggestion() -> None:
    random_ = random.Random(42)  # noqa: S311 - a sample, not a secret
    hits: list[bool] = []
    for config, path, fields in places():
        for field in fields:
            for wrong in {typo(field, random_) for _ in range(4)} - set(fields):
                mistaken = config.copy()
                place = f"{path}." if path else ""
                OmegaConf.update(mistaken, f"{place}{wrong}", 1, force_add=True)  # as `+key=1` does
                with pytest.raises(FrameworkError, match=r"^unknown key") as caught:
                    check(mistaken)
                hits.append(f"'{place}{wrong}'. Did you mean '{place}{field}'?" in str(caught.value))
    assert len(hits) > 300
    assert sum(hits) / len(hits) >= 0.95


def test_the_nearest_of_several_fields_is_suggested_and_all_are_listed_in_order() -> None:
    text = unknown_key("trainer.max_step", ["max_steps", "max_seq_length"])
    assert text == (
        "unknown key 'trainer.max_step'. Did you mean 'trainer.max_steps'? Valid in trainer: max_seq_length, max_steps."
    )
