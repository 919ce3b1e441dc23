"""framework/memory: the formulas, and the peaks that others measured."""

import csv
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory_plan import GIB, PEAKS, band, factors, source
from benchmarks.memory_rows import predict
from framework.memory import Attention, Loss, MemorySettings, Shape, Weights, estimate, terms
from framework.memory.peak import ABOVE, BELOW

SEVEN = Shape(4096, 32, 32, 32, 128, 11008, 32000, tied=False)
MEASURED = list(csv.DictReader(PEAKS.read_text(encoding="utf-8").splitlines()))
PLAIN = MemorySettings(rows=2, length=512, rank=16)
MORE: dict[str, Any] = {
    "rows": 3,
    "length": 600,
    "rank": 32,
    "weights": Weights.fp32,
    "upcast": True,
    "attention": Attention.eager,
    "checkpointing": False,
    "varied": True,
    "masked": True,
    "dropout": True,
    "magnitudes": True,
    "heap": 0.1,
}
"""Each of these needs more than what `PLAIN` has."""


def names(row: dict[str, str]) -> str:
    return f"{row['model_id']}-{row['method']}-{row['seq_len']}x{row['micro_batch']}-{row['attention']}"


@pytest.mark.parametrize("row", [row for row in MEASURED if row["allocated_gib"]], ids=names)
def test_allocated_memory_is_what_was_measured(row: dict[str, str]) -> None:
    assert predict(row).allocated / GIB == pytest.approx(float(row["allocated_gib"]), rel=0.03)


def test_the_band_holds_the_peaks_of_a_source_that_it_was_not_made_of() -> None:
    held = 0
    for name in {source(row) for row in MEASURED}:
        low, high = band([row for row in MEASURED if source(row) != name])
        mine = [factors(row) for row in MEASURED if source(row) == name]
        held += sum(low <= below and above <= high for below, above in mine)
    assert held >= 0.95 * len(MEASURED)
    assert band(MEASURED) == pytest.approx((BELOW, ABOVE), abs=0.01)


def test_the_band_of_a_process_has_room_on_both_sides() -> None:
    made = estimate(SEVEN, dataclasses.replace(PLAIN, process=1.0))
    assert made.low < made.allocated < made.high


def test_nf4_takes_half_a_byte_and_its_constants() -> None:
    linear = SEVEN.linear_parameters
    single = terms.base_weights(SEVEN, MemorySettings(1, 1, rank=8, weights=Weights.nf4))
    double = terms.base_weights(SEVEN, MemorySettings(1, 1, rank=8, weights=Weights.nf4, double_quant=True))
    assert single["linear layers"] == linear / 2
    assert single["quantization constants"] == pytest.approx(linear * 0.0625)
    assert double["quantization constants"] == pytest.approx(linear * 0.015869, rel=1e-4)


def test_full_training_takes_sixteen_bytes_a_parameter_in_fp32_and_eight_in_16_bits() -> None:
    wide = estimate(SEVEN, MemorySettings(1, 1, weights=Weights.fp32, loss=Loss.learned))
    half = estimate(SEVEN, MemorySettings(1, 1, loss=Loss.learned))
    assert wide.resident == 16 * SEVEN.total
    assert half.resident == 8 * SEVEN.total


@pytest.mark.parametrize("change", MORE)
def test_what_needs_more_gets_a_hint(change: str) -> None:
    more = dataclasses.replace(PLAIN, **{change: MORE[change]})
    if change == "upcast":
        quantized = dataclasses.replace(PLAIN, weights=Weights.nf4)
        assert estimate(SEVEN, dataclasses.replace(quantized, upcast=True)).high > estimate(SEVEN, quantized).high
    else:
        assert estimate(SEVEN, more).high > estimate(SEVEN, PLAIN).high


def test_a_product_in_int8_keeps_its_input() -> None:
    half, int8 = (
        sum(terms.layer(SEVEN, next(iter(SEVEN.counts)), dataclasses.replace(PLAIN, weights=weights)))
        for weights in (Weights.half, Weights.int8)
    )
    assert int8 - half == 2 * PLAIN.tokens * (2 * SEVEN.hidden + SEVEN.intermediate)


def test_a_plain_loss_keeps_all_logits_and_a_chunked_one_does_not() -> None:
    plain = estimate(SEVEN, MemorySettings(4, 2048, rank=16))
    chunked = estimate(SEVEN, MemorySettings(4, 2048, rank=16, loss=Loss.chunked))
    assert plain.phases["loss"] - chunked.phases["loss"] > 10 * 4 * 2048 * SEVEN.vocab


def test_evaluation_and_answers_may_decide() -> None:
    settings = MemorySettings(1, 128, rank=4, loss=Loss.learned, evaluated_rows=64, answer_rows=1, answer_tokens=128)
    made = estimate(SEVEN, settings)
    assert max(made.phases, key=made.phases.__getitem__) == "evaluation"
    settings = dataclasses.replace(settings, evaluated_rows=0, answer_rows=64, answer_tokens=4096)
    made = estimate(SEVEN, settings)
    assert max(made.phases, key=made.phases.__getitem__) == "answers"
    cache, logits = 2 * 32 * 4096 * 2 * 64 * 4096, 64 * SEVEN.vocab * 4 * 6
    assert made.phases["answers"] == cache + cache // 32 + logits  # a layer's is copied to add a token
    read = dataclasses.replace(settings, answer_rows=1, prompt_tokens=100_000)  # of many prompts, in one pass
    assert estimate(SEVEN, read).phases["answers"] > 100_000 * 2 * (2 * 4096 + 3 * 11008)


@given(
    rows=st.integers(1, 16),
    length=st.integers(1, 4096),
    rank=st.integers(0, 64),
    weights=st.sampled_from(Weights),
    attention=st.sampled_from(Attention),
    loss=st.sampled_from(Loss),
    checkpointing=st.booleans(),
)
def test_an_estimate_is_consistent(**settings: object) -> None:
    made = estimate(SEVEN, MemorySettings(**settings))  # type: ignore[arg-type]
    assert 0 < made.resident < made.allocated <= made.reserved
    assert made.resident <= made.low <= made.reserved < made.high
    assert made.allocated == pytest.approx(made.resident + max(made.phases.values()), abs=10)


@given(rows=st.integers(1, 8), length=st.integers(16, 2048), loss=st.sampled_from(Loss))
def test_more_tokens_never_need_less(rows: int, length: int, loss: Loss) -> None:
    some, more = (estimate(SEVEN, MemorySettings(rows + add, length, rank=16, loss=loss)) for add in (0, 1))
    assert some.allocated <= more.allocated
    assert some.reserved <= more.reserved
