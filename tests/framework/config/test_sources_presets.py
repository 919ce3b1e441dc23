"""A preset that an experiment overrules in part says so; one that comes to be whole says nothing."""

from pathlib import Path

import pytest

from framework.cli.arguments import chooses_preset
from framework.hooks.session import current
from tests.support.project import project

PATIENT = "defaults: [hf]\nlearning_rate: 5e-5\nweight_decay: 0.5\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "patient.yaml").write_text(PATIENT, encoding="utf-8")
    return tmp_path


def notices(*words: str, cwd: Path) -> list[str]:
    result = project(cwd).run(*words, "stages=[plan]")
    assert result.code == 0, result.err
    return [line for line in result.err.splitlines() if not line.startswith("options of ")]


def test_a_value_of_a_preset_that_an_experiment_overrules_is_reported_with_the_line_and_the_way_out(
    place: Path,
) -> None:
    (told,) = notices("+experiment=quickstart", "trainer=patient", cwd=place)
    assert told.startswith("trainer=patient: ")
    assert "/conf/experiment/quickstart.yaml:" in told
    assert told.endswith(
        "sets trainer.learning_rate=0.0005, which overrides 5e-05 of the preset: to use that, add "
        "trainer.learning_rate=5e-05"
    )


def test_nothing_is_reported_where_the_command_line_decides_or_the_preset_stands(place: Path) -> None:
    assert notices("+experiment=quickstart", "trainer=patient", "trainer.learning_rate=1e-3", cwd=place) == []
    assert notices("model=smollm2_135m", "trainer=patient", cwd=place) == []
    assert notices("+experiment=quickstart", "adapter=dora", cwd=place) == []


@pytest.mark.parametrize(
    ("word", "preset"),
    [("trainer=patient", True), ("trainer=hf", False), ("metric=[exact_match,mine]", True), ("metric=[]", False),
     ("evaluator=[short_prompts]", True), ("seed=1", False), ("adapter.r=3", False)],
)  # fmt: skip
def test_only_words_that_choose_a_preset_cost_a_second_look(word: str, *, preset: bool) -> None:
    assert chooses_preset(current(), [word]) is preset
