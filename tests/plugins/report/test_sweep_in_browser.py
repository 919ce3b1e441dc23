"""The page of a sweep in a browser: nothing lies upon anything else, on a desk and on a telephone."""

from pathlib import Path

import pytest

from framework.api.records import Sweep, Trial
from framework_plugins.report.sweep import render
from tests.plugins.report.test_sweep import HERE, RANKED, SWEEP, trial
from tests.support.browser import layout, needs_browser

RATES = [f"trainer.learning_rate={10 ** (-5 + number / 20)!r}" for number in range(48)]
MANY = [
    trial(
        number, 1 + number % 7 / 10, rate, f"seed={number % 5}", f"model=named_{number}", f"adapter.r={number % 6 + 4}"
    )
    for number, rate in enumerate(RATES)
]
LONG = [
    trial(
        number, 0.5 + number, f"data.path=/home/somebody/projects/orders/data/2026-11-2{number}/export_of_all.jsonl",
        "adapter.target_modules=[q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj]",
        f"data.mix.general_instructions.share={number / 10}", f"model=llama_3_1_8b_instruct_{'of_' * number}somebody",
    )
    for number in range(6)
]  # fmt: skip


@needs_browser
@pytest.mark.parametrize("trials", [SWEEP.trials, MANY, LONG], ids=["some failed", "many trials", "long words"])
@pytest.mark.parametrize("width", [1280, 390])
def test_texts_lie_beside_each_other_and_the_page_fits_the_window(
    trials: list[Trial], width: int, tmp_path: Path
) -> None:
    page = render(
        Sweep("out/" + "sweep_" * 20, "general_texts.word_perplexity", higher_is_better=False, best=1, trials=trials),
        HERE,
    )
    found = layout(page, tmp_path, width)
    assert found.wider == 0
    assert found.upon == []
    assert found.letters >= 9


@needs_browser
def test_points_with_seeds_fit_a_telephone(tmp_path: Path) -> None:
    found = layout(render(RANKED, HERE), tmp_path, 390)
    assert (found.wider, found.upon) == (0, [])


@needs_browser
def test_in_the_dark_the_text_is_bright(tmp_path: Path) -> None:
    page = render(SWEEP, HERE)
    assert layout(page, tmp_path, 800).ink == "rgb(29, 33, 37)"
    assert layout(page, tmp_path, 800, dark=True).ink == "rgb(228, 231, 234)"
