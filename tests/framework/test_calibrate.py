"""framework/calibrate.py: probes in processes of their own, and what they correct."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.calibrate import AROUND, Correction, Probe, calibrate, correction, fit
from framework.compose import compose
from framework.memory import Settings, Shape, Weights, estimate
from framework.plan import Plan, make_plan
from tests.framework.memory.test_shape import SMOLLM
from tests.support.tiny import tiny_llama

SHAPE = Shape.from_config(SMOLLM)
GIB = 2**30
SETTINGS = Settings(rows=2, length=512, rank=16, kept=1000.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))


@given(
    offset=st.integers(-(10**8), 10**9),
    factor=st.floats(0.5, 2),
    small=st.integers(10**8, 10**9),
    resident=st.integers(10**8, 10**9),
)
def test_a_line_through_two_probes_is_found(offset: int, factor: float, small: int, resident: int) -> None:
    steps = (small, 2 * small)
    probes = [Probe(resident, resident + step, round(resident + offset + factor * step)) for step in steps]
    found = fit(probes)
    assert found.factor == pytest.approx(factor, rel=1e-6)
    assert found.offset == pytest.approx(offset, abs=100)
    assert fit(probes[::-1]) == found


def test_probes_that_hardly_differ_give_an_offset_alone() -> None:
    found = fit([Probe(100, 200, 250), Probe(100, 210, 270)])
    assert found == Correction(55.0, 1.0)


def test_a_corrected_estimate_is_what_was_measured_with_a_narrow_band() -> None:
    made = estimate(SHAPE, SETTINGS)
    measured = round(1.2 * made.allocated)
    found = Correction(measured - made.allocated, 1.0).apply(made)
    assert found.allocated == pytest.approx(measured, abs=2)
    assert found.low >= found.allocated
    assert found.high == pytest.approx((1 + AROUND) * found.reserved, abs=2)


def plan(*words: str) -> Plan:
    every = ["model=local", *words, "data=local_file", "data.path=rows.jsonl", "trainer.max_seq_length=96"]
    return make_plan(compose(every), run_dir=Path("unused"), overrides=tuple(every))


def test_probes_train_and_what_they_found_is_kept_for_such_trainings_alone(tmp_path: Path) -> None:
    words = plan(
        f"model.path={tiny_llama(tmp_path / 'model')}", "trainer.device=cpu", "name=mine", "evaluator=[prompts]"
    )
    settings = Settings(rows=1, length=96, rank=16)
    assert correction("CPU", settings) is None
    found = calibrate(words, "CPU", settings, capped=8 * GIB)
    assert correction("CPU", settings) == found
    assert correction("CPU", Settings(rows=4, length=33, rank=16)) == found
    assert correction("rtx4090", settings) is None
    assert correction("CPU", Settings(rows=1, length=96, rank=16, weights=Weights.nf4)) is None
    assert abs(found.offset) < GIB


def test_a_probe_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    words = plan("model.path=/no/such/folder")
    with pytest.raises(FrameworkError, match=r"plan.calibrate=true: a probe failed: .*there is no such folder"):
        calibrate(words, "CPU", SETTINGS, capped=8 * GIB)
    assert not list(tmp_path.rglob("calibration-*"))
