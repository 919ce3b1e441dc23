"""The study of a sweep: its direction, its sampler and its pruner."""

from pathlib import Path

import optuna
import pytest

from framework import FrameworkError
from framework.config.compose import compose, config_loader
from framework_plugins.sweeps.config import Direction, Optuna5Config, Pruner, Sampler
from framework_plugins.sweeps.space import Space, read_space
from framework_plugins.sweeps.study import check_space, direction, make_pruner, open_study


@pytest.mark.parametrize(
    ("words", "better"),
    [
        (["objective=eval_loss"], Direction.minimize),
        (["objective=train_loss"], Direction.minimize),
        (["objective=verdict.score"], Direction.maximize),
        (["objective=exact_match"], Direction.maximize),
        (["metric=[perplexity]", "objective=perplexity"], Direction.minimize),
        (["metric=[exact_match,token_f1]"], Direction.maximize),
        (["verdict.primary=eval_loss"], Direction.minimize),
        (["metric=[json_valid]"], Direction.minimize),
        (["evaluator=[]"], Direction.minimize),
    ],
)
def test_the_direction_is_that_of_the_objective(words: list[str], better: Direction) -> None:
    assert direction(Optuna5Config(), compose(words)) is better


def test_a_measure_of_an_evaluator_wants_it_set() -> None:
    config = compose(["objective=general_accuracy"])
    with pytest.raises(FrameworkError, match=r"objective=general_accuracy: .* hydra\.sweeper\.direction="):
        direction(Optuna5Config(), config)
    assert direction(Optuna5Config(direction=Direction.maximize), config) is Direction.maximize


def test_a_study_that_looks_the_other_way_is_refused(tmp_path: Path) -> None:
    place = str(tmp_path / "study.journal")
    open_study(Optuna5Config(), "mine", place, Direction.minimize)
    with pytest.raises(
        FrameworkError, match=r"the study 'mine' exists and does not maximize: give this one another name"
    ):
        open_study(Optuna5Config(), "mine", place, Direction.maximize)


def test_points_of_another_space_are_refused_by_their_key(tmp_path: Path) -> None:
    def swept(*words: str) -> Space:
        with config_loader() as loader:
            return read_space(loader, words)

    study = open_study(Optuna5Config(), "mine", str(tmp_path / "study.journal"), Direction.minimize)
    study.ask(dict(swept("adapter.r=8,16", "trainer.learning_rate=interval(0.1,0.2)", "seed=1,2").distributions))
    check_space(study, swept("adapter.r=8,16", "trainer.learning_rate=interval(0.1,0.5)", "trainer.max_steps=1,2"))
    with pytest.raises(FrameworkError) as caught:
        check_space(study, swept("adapter.r=8,32", "trainer.learning_rate=0.1,0.2", "seed=1,2"))
    told = "the study 'mine' has trials of"
    ends = "which cannot change: sweep over that, or give this one another name, hydra.sweeper.study_name=NAME"
    assert str(caught.value).splitlines() == [
        f"adapter.r=8,32: {told} adapter.r=8,16, {ends}",
        f"trainer.learning_rate=0.1,0.2: {told} trainer.learning_rate=interval(0.1,0.2), {ends}",
    ]


def drawn(tmp_path: Path, settings: Optuna5Config, points: int) -> list[optuna.trial.FrozenTrial]:
    """Ask for `points` trials of a bowl with its lowest place at 0.7, 0.2."""
    study = open_study(settings, "bowl", str(tmp_path / "study.journal"), Direction.minimize)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "x": optuna.distributions.FloatDistribution(0, 1), "y": optuna.distributions.FloatDistribution(0, 1),
    }  # fmt: skip
    for _ in range(points):
        trial = study.ask(space)
        study.tell(trial, (trial.params["x"] - 0.7) ** 2 + (trial.params["y"] - 0.2) ** 2)
    return list(study.trials)


@pytest.mark.parametrize("sampler", [Sampler.tpe, Sampler.cmaes])
def test_a_sampler_that_learns_looks_where_it_is_better_once_it_has_begun(tmp_path: Path, sampler: Sampler) -> None:
    values = {}
    for kind in (Sampler.random, sampler):
        settings = Optuna5Config(sampler=kind, n_startup_trials=10, seed=3)
        values[kind] = [trial.value or 0.0 for trial in drawn(tmp_path / kind.name, settings, 60)]
    late = {kind: sorted(found[-20:])[10] for kind, found in values.items()}
    assert late[sampler] < late[Sampler.random] / 3


def test_cma_es_and_no_other_keeps_generations_and_only_after_the_first_points(tmp_path: Path) -> None:
    for kind in Sampler:
        trials = drawn(tmp_path / kind.name, Optuna5Config(sampler=kind, n_startup_trials=4, seed=3), 8)
        learned = [any(key.startswith("cma:") for key in trial.system_attrs) for trial in trials]
        assert learned == [kind is Sampler.cmaes and number >= 4 for number in range(8)]


@pytest.mark.parametrize("sampler", [Sampler.tpe, Sampler.cmaes, Sampler.random])
def test_a_seed_draws_the_same_points_again_and_another_seed_others(tmp_path: Path, sampler: Sampler) -> None:
    found = [
        [trial.params for trial in drawn(tmp_path / str(number), Optuna5Config(sampler=sampler, seed=seed), 12)]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (Sampler.tpe, optuna.samplers.TPESampler),
        (Sampler.cmaes, optuna.samplers.CmaEsSampler),
        (Sampler.random, optuna.samplers.RandomSampler),
    ],
)
def test_the_sampler_is_the_one_that_was_chosen(tmp_path: Path, kind: Sampler, made: type) -> None:
    study = open_study(Optuna5Config(sampler=kind), "mine", str(tmp_path / "study.journal"), Direction.minimize)
    assert type(study.sampler) is made


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_seeded_study_that_goes_on_draws_other_points(tmp_path: Path, sampler: Sampler) -> None:
    settings = Optuna5Config(sampler=sampler, seed=1)
    space: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
    drawn = []
    for name in ("a", "a", "b"):
        study = open_study(settings, name, str(tmp_path / "study.journal"), Direction.minimize)
        trial = study.ask(space)
        study.tell(trial, trial.params["x"])
        drawn.append(trial.params["x"])
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize(("kind", "gives_up"), [(Pruner.none, False), (Pruner.median, True), (Pruner.asha, True)])
def test_a_pruner_gives_up_a_point_that_is_far_behind_and_not_the_best(kind: Pruner, *, gives_up: bool) -> None:
    study = optuna.create_study(pruner=make_pruner(kind, 1, 3))
    given_up = []
    for losses in ([1.0, 0.5, 0.2], [2.0, 1.0, 0.9]):
        trial = study.ask()
        for number, loss in enumerate(losses, start=1):
            trial.report(loss, number)
            given_up.append(bool(trial.should_prune()))
        study.tell(trial, losses[-1])
    assert not any(given_up[:3])
    assert given_up[3] is gives_up
