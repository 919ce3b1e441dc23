"""The config is closed: what nothing reads is refused with the nearest name, however it was written."""

import dataclasses
import itertools
import string
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework import FrameworkError
from framework.api.component import GROUPS, Component
from framework.api.fields import as_text
from framework.api.problem import Problem
from framework.api.schema import RunConfig, Stage
from framework.config.check import check, problems, unknown_key
from framework.config.sources import line
from framework.hooks.session import current
from framework.testing import compose
from framework.util.command import this_program
from framework_plugins.hf.settings.config import HFTrainerConfig
from tests.support.examples import examples
from tests.support.project import project


def refusal(*words: str) -> list[str]:
    """Return the error for arguments that Hydra composes and the check refuses."""
    with pytest.raises(FrameworkError) as caught:
        check(compose(words), words)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("prefix", ["+", "++"])
def test_an_unknown_key_is_refused_however_it_is_written(prefix: str) -> None:
    (told,) = refusal(f"{prefix}trainer.lerning_rate=1")
    keys = len(dataclasses.fields(HFTrainerConfig))
    assert told == (
        f"{prefix}trainer.lerning_rate=1: unknown key 'trainer.lerning_rate'. Did you mean 'trainer.learning_rate'? "
        f"`{this_program()} plugins trainer hf` lists all {keys} keys."
    )
    (told,) = refusal(f"{prefix}trainer.zzzzzzzzzz=1")
    assert "Valid in trainer=hf: answers_at_once, args, attention, " in told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trainer.learning_rate=-1"], "trainer.learning_rate=-1 must be a number above 0, up to 1"),
        (["trainer.learning_rate=nan"], "trainer.learning_rate=nan must be a number above 0, up to 1"),
        (["trainer.num_train_epochs=1e300"], "trainer.num_train_epochs=1e+300 must be a number above 0, up to 1000000"),
        (["adapter.r=0"], "adapter.r=0 must be a whole number above 0"),
        (["trainer.tokens_per_pass=-5"], "trainer.tokens_per_pass=-5 must be a whole number above 0, or auto"),
        (["trainer.tokens_per_pass=many"], "trainer.tokens_per_pass=many must be a whole number above 0, or auto"),
        (["trainer.tokens_per_pass='5'"], "trainer.tokens_per_pass='5' must be a whole number above 0, or auto"),
        (["++adapter.r=0"], "++adapter.r=0: adapter.r=0 must be a whole number above 0"),
        (["trainer.max_steps=0"], "trainer.max_steps=0 must be a whole number above 0, up to 1000000000, or null"),
        (["data.validation_split=1"], "data.validation_split=1 must be a number from 0 to below 1"),
        (["evaluator.prompts.count=0"], "evaluator.prompts.count=0 must be a whole number above 0"),
        (["seed=4294967296"], "seed=4294967296 must be a whole number from 0 to 4294967295"),
        (["stages=[]"], "stages=[] must be a list that is not empty, each one of plan, data, baseline, train"),
        (["run_dir=''"], "run_dir='' must be text that is not empty, or null"),
        (["+metric.exact_match.ignorecase=true"], "Did you mean 'metric.exact_match.ignore_case'?"),
        (
            ["+format.zzz=1"],
            "+format.zzz=1: unknown key 'format.zzz'. Valid in format=auto: cluster, columns, strip, sy",
        ),
        (["data=local_file"], "data.path has no value: set data.path=…"),
        (["trainer.warmup_steps=${seed}x"], "trainer.warmup_steps: While dereferencing interpolation '${seed}x'"),
        (["+trainer.lerning_rate=${nowhere}"], "unknown key 'trainer.lerning_rate'. Did you mean"),
        (["seed=${nowhere}"], "seed=${nowhere}: seed: Interpolation key 'nowhere' not found"),
        (["~trainer"], "trainer has no value: set trainer="),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_reported_with_place_key_and_valid_range(words: list[str], text: str) -> None:
    (told,) = refusal(*words)
    assert text in told


def test_all_problems_come_in_one_message_those_of_missing_values_last() -> None:
    told = refusal("data=local_file", "model=local", "+trainer.lerning_rate=1", "+adapter.rank=8", "seed=-1")
    assert [text.partition(" ")[0] for text in told] == [
        "seed=-1", "+adapter.rank=8:", "+trainer.lerning_rate=1:", "model.path", "data.path",
    ]  # fmt: skip


def test_the_place_of_a_value_is_the_one_that_won(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    yaml = "# @package _global_\ntrainer:\n  max_steps: 0\n  logging_steps: 0\n"
    (folder / "mine.yaml").write_text(yaml, encoding="utf-8")
    result = project(tmp_path).run("+experiment=mine", "trainer.max_steps=-1")
    assert result.err.splitlines() == [
        "options of ./conf: +experiment=mine",
        "trainer.max_steps=-1 must be a whole number above 0, up to 1000000000, or null",
        "conf/experiment/mine.yaml:4: trainer.logging_steps=0 must be a whole number above 0",
    ]
    assert (result.code, result.out) == (2, "")


def test_what_several_keys_do_together_is_reported_with_the_place_of_each() -> None:
    text = "adapter=full and quantization=nf4 do not go together: set quantization=none"
    places = {"adapter": "mine.yaml:3", "quantization": "quantization=nf4"}
    problem = Problem(text, ("adapter", "quantization"))
    told = f"{text} (adapter: mine.yaml:3; quantization: quantization=nf4)"
    assert str(line(problem, lambda key: places[key])) == told
    assert str(line(problem, lambda _: "")) == text


def test_what_is_built_on_no_option_is_refused_with_the_word_that_chose_it(tmp_path: Path) -> None:
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "bare.yaml").write_text("learning_rate: 1e-3\n", encoding="utf-8")
    _, missing, told = project(tmp_path).run("trainer=bare", "~model").err.splitlines()
    assert missing.startswith("model has no value: set model=")
    assert told == (
        "trainer=bare: trainer is not built on any option of 'trainer': start its defaults list with one of hf, trl, "
        "unsloth"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ([1, "a"], "[1,a]"),
        (Stage.plan, "plan"),
        (0.1, "0.1"),
        (1.0000001, "1.0000001"),
        ("x", "x"),
        ("", "''"),
        ({"a": [0.5, False]}, "{a:[0.5,false]}"),
    ],
)
def test_values_are_written_as_on_the_command_line(value: object, text: str) -> None:
    assert as_text(value) == text


@cache
def all_places() -> list[tuple[tuple[str, ...], str, list[str]]]:
    """Return for each registered schema the words that choose it, the key below which it is, and its fields.

    The same words choose an option of each group that has one, and nothing of the groups that have several: a config
    of all of those is checked once.
    """
    options = {group.name: [*current().plugins.components(group).items()] for group in GROUPS.values()}
    several = [name for name in options if GROUPS[name].several]
    words = tuple(f"{name}=[{','.join(option for option, _ in options[name])}]" for name in several)
    found = [(words, "", [field.name for field in dataclasses.fields(RunConfig)])]
    found += [(words, f"{name}.{option}", names_of(each)) for name in several for option, each in options[name]]
    for row in itertools.zip_longest(
        *([(name, *each) for each in options[name]] for name in options if name not in several)
    ):
        chosen = [each for each in row if each is not None]
        words = (*(f"{name}=[]" for name in several), *(f"{name}={option}" for name, option, _ in chosen))
        found += [(words, name, names_of(component)) for name, _, component in chosen]
    return found


def names_of(component: Component) -> list[str]:
    return [field.name for field in dataclasses.fields(component.schema)]


@cache
def composed(*words: str) -> DictConfig:
    """Return a config that has one of these schemas, or all of a group."""
    config = compose(words)
    for missing in OmegaConf.missing_keys(config):
        try:
            OmegaConf.update(config, missing, "x/x")
        except OmegaConfBaseException:  # a number
            OmegaConf.update(config, missing, 1)
    return config


@cache
def all_fields() -> list[tuple[int, str]]:
    return [(number, name) for number, (_, _, names) in enumerate(all_places()) for name in names]


def edits(word: str) -> set[str]:
    """Return every word that one letter more, less or different makes of it, or a swap of two neighbours."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    letters = string.ascii_lowercase + "_"
    changed = {left + letter + right[1:] for left, right in cuts if right for letter in letters}
    added = {left + letter + right for left, right in cuts for letter in letters}
    dropped = {left + right[1:] for left, right in cuts if right}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    return (changed | added | dropped | swapped) - {"", word}


@st.composite
def typos(draw: st.DrawFn) -> tuple[DictConfig, str, str]:
    """Draw a field of any schema and a single typing error in it that makes no other field."""
    number, field = draw(st.sampled_from(all_fields()))
    words, path, names = all_places()[number]
    wrong = draw(st.sampled_from(sorted(edits(field) - set(names))))
    return composed(*words), f"{path}." if path else "", wrong


@settings(max_examples=examples(300))
@given(typos())
def test_a_mistyped_key_is_refused_whatever_the_field_and_the_error(drawn: tuple[DictConfig, str, str]) -> None:
    config, place, wrong = drawn
    mistaken = config.copy()
    OmegaConf.update(mistaken, f"{place}{wrong}", 1, force_add=True)  # as `+key=1` does
    (told,) = [problem.text for problem in problems(mistaken) if problem.text.startswith("unknown key")]
    assert told.startswith(f"unknown key '{place}{wrong}'")


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation; OmegaConf may have made a text or a number of it."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    items = get_args(hint)
    if get_origin(hint) in {Union, UnionType}:
        return any(conforms(value, each) for each in items)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(conforms(item, items[0]) for item in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(conforms(item, items[1]) for item in value.values())
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return isinstance(value, dict) and all(conforms(part, hints[key]) for key, part in value.items())
    return hint is Any or isinstance(value, (int, float) if hint is float else hint)


OTHER_VALUES: tuple[object, ...] = ([], ["x"], [["x"]], [{"a": "x"}], [None], {}, {"a": 1}, {"a": ["x"]}, 5, None, "")


def test_a_value_of_another_type_is_refused_wherever_it_is_set() -> None:
    """All settings of a config are wrong at once; each is reported beside the others. In `dev` a few of the values."""
    taken, values = [], OTHER_VALUES[:: 1 if examples(100) == 100 else 4]
    for words, places in itertools.groupby(all_places(), lambda place: place[0]):
        settings = [(path, name) for _, path, names in places for name in names if path or name not in GROUPS]
        for value in values:
            config, wrong = composed(*words).copy(), set[str]()
            for path, name in settings:
                place = f"{path}.{name}".lstrip(".")
                schema = OmegaConf.get_type(OmegaConf.select(config, path) if path else config)
                try:
                    OmegaConf.update(config, place, value, merge=False)
                except (OmegaConfBaseException, ValueError):
                    continue  # as on the command line, where that is reported
                node = OmegaConf.select(config, place)
                plain = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
                if not conforms(plain, hints_of(schema)[name]):
                    wrong.add(place)
            found = [*problems(config)]
            keys, text = {key for problem in found for key in problem.keys}, "\n".join(each.text for each in found)
            taken += [f"{place}={value}" for place in wrong - keys if f"{place}." not in text]
    assert taken == []


@cache
def hints_of(schema: type) -> dict[str, Any]:
    return get_type_hints(schema, include_extras=True)


def test_the_true_key_is_the_first_suggestion_for_nearly_every_typing_error() -> None:
    """In `ci` not a sample: every single error in every field of every schema; in `dev` each fiftieth of them."""
    step = 1 if examples(100) == 100 else 50
    missed: dict[str, int] = {}
    tried = 0
    schemas = {tuple(names): f"{path}." if path else "" for _, path, names in all_places()}  # some have the same fields
    for names, place in schemas.items():
        for field in names:
            wrong = sorted(edits(field) - set(names))[::step]
            tried += len(wrong)
            hits = sum(f"Did you mean '{place}{field}'?" in unknown_key(f"{place}{word}", names) for word in wrong)
            missed[f"{place}{field}"] = len(wrong) - hits
    assert tried > 50_000 / step
    assert 1 - sum(missed.values()) / tried >= 0.95, {name: count for name, count in missed.items() if count}


def test_a_name_that_is_refused_is_not_suggested() -> None:
    (told,) = refusal("+trainer.loss=mine")
    assert "prediction_loss_only" not in told
    (told,) = refusal("+trainer.local_rnk=1")
    assert "unknown key 'trainer.local_rnk'. 'local_rank' is not used here: " in told


def test_the_nearest_of_several_fields_is_suggested_and_all_are_listed_in_order() -> None:
    text = unknown_key("trainer.max_step", ["max_steps", "max_seq_length"])
    assert text == (
        "unknown key 'trainer.max_step'. Did you mean 'trainer.max_steps'? Valid in trainer: max_seq_length, max_steps."
    )


def test_a_former_setting_is_told_as_what_to_type_now() -> None:
    text = unknown_key("trainer.optim", ["max_steps"], value="adamw_8bit")
    place = "in a file, '- override /optimizer: adamw_8bit' in its defaults"
    assert text == f"trainer.optim is set elsewhere now: type optimizer=adamw_8bit; {place}"
