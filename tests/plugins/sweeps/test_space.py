"""Hydra's words as a search space."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from framework import FrameworkError
from framework.config.compose import config_loader
from framework_plugins.sweeps.space import Space, as_sweep, as_words, read_space


def space(*words: str) -> Space:
    with config_loader() as loader:
        return read_space(loader, words)


@pytest.mark.parametrize(
    ("value", "distribution"),
    [
        ("8,16", CategoricalDistribution(["8", "16"])),
        ("choice(8,16)", CategoricalDistribution(["8", "16"])),
        ("interval(0.1,0.5)", FloatDistribution(0.1, 0.5)),
        ("interval(1,5)", FloatDistribution(1.0, 5.0)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,interval(1e-5,1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
        ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("range(1,5)", IntDistribution(1, 4)),
        ("range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("range(0.5,2,0.5)", FloatDistribution(0.5, 1.5, step=0.5)),
        ("shuffle(range(1,4))", None),
        ("range(3,0,-1)", CategoricalDistribution(["3", "2", "1"])),
    ],
)
def test_what_a_word_sweeps_over(value: str, distribution: object) -> None:
    found = space(f"trainer.x={value}", "seed=1")
    assert found.fixed == ["seed=1"]
    kind = found.distributions["trainer.x"]
    if distribution is None:
        assert isinstance(kind, CategoricalDistribution)
        assert sorted(kind.choices) == ["1", "2", "3"]
    else:
        assert kind == distribution


def test_an_interval_of_a_few_whole_numbers_is_a_finite_space() -> None:
    found = space("adapter.r=int(interval(1,3))", "trainer.max_steps=tag(log,int(interval(2,3)))", "seed=1,2")
    assert list(found.values["adapter.r"]) == ["1", "2", "3"]
    assert found.combinations == 3 * 2 * 2
    assert space("adapter.r=int(interval(1,3))", "trainer.max_steps=int(interval(1,5000))").combinations == math.inf


def test_a_range_has_the_values_that_hydra_gives_it() -> None:
    for word in ("x=range(1,10,4)", "x=range(0.1,0.5,0.1)"):
        (override,) = OverridesParser.create().parse_overrides([word])
        found = space(word)
        assert found.values["x"] == [str(value) for value in override.sweep_string_iterator()]


def test_options_of_a_group_are_chosen_by_a_pattern() -> None:
    assert space("adapter=glob(*ora,exclude=rs*)").values["adapter"] == ["dora", "lora"]


def test_of_a_key_that_stands_in_a_file_and_on_the_command_line_the_last_holds() -> None:
    assert space("seed=1,2", "seed=3,4,5").values == {"seed": ["3", "4", "5"]}


@pytest.mark.parametrize("words", [(), ("seed=1",), ("seed=range(3,3)",), ("seed=interval(2,1)",)])
def test_what_cannot_be_looked_through_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(FrameworkError):
        space(*words)


@pytest.mark.parametrize("value", ["8,16", "interval(0.1,0.5)", "int(interval(1,5))", "tag(log,interval(1e-05,0.001))"])
def test_what_is_swept_over_is_written_as_a_word(value: str) -> None:
    assert as_sweep(space(f"trainer.x={value}").distributions["trainer.x"]) == value


def test_values_are_written_so_that_nothing_is_lost() -> None:
    assert as_words({"a": 1e-05, "b": 0.1 + 0.2, "c": 3, "d": "[a,b]"}) == [
        "a=1e-05", "b=0.30000000000000004", "c=3", "d=[a,b]",
    ]  # fmt: skip
