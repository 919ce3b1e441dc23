"""parity/bounds.py: which bound an export does not keep."""

from __future__ import annotations

from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import Agreement
from framework_plugins.exports.parity.bounds import exact, within

CONFIG = ParityConfig()


def found(**more: float) -> Agreement:
    """Return what agrees entirely, but for what is given."""
    return Agreement(0.02, positions=100, same=100, end_positions=256, end_tokens=2000, **more)  # type: ignore[arg-type]


def test_what_agrees_keeps_all_bounds() -> None:
    assert exact(found(), CONFIG) == within(found(), CONFIG) == ""


def test_the_end_of_the_long_row_has_a_bound_of_its_own() -> None:
    told = exact(found(end_divergence=256 * 0.0021), CONFIG)
    assert told == (
        "KL is 0.0021 at the end of 2,000 tokens, and parity.exact_end_kl=0.001: its positions (rope, sliding window) "
        "are not those of the training"
    )
    assert exact(found(end_divergence=256 * 0.0021), CONFIG, rounding=0.0006) == ""
    assert "with 0.0001 that rounding to bf16 explains" in exact(found(end_divergence=0.5376), CONFIG, rounding=0.0001)
    assert within(found(end_divergence=256 * 0.2), CONFIG) == ""
    told = within(found(end_divergence=256 * 0.26), CONFIG)
    assert told == "kl is 0.26 at the end of 2,000 tokens, and parity.quantized_kl=0.25"


def test_a_quantized_file_has_a_share_of_the_change_where_that_can_be_measured() -> None:
    assert within(found(share=0.5, share_error=0.02), CONFIG) == (
        "50% of the change from the base is left, and parity.quantized_share=0.8"
    )
    assert within(found(share=0.81, share_error=0.02), CONFIG) == ""
    assert within(found(share=0.5, share_error=0.3), CONFIG) == ""
    assert found(share=0.5, share_error=0.3).survived() == "50% of the change from the base (±60%, too little to judge)"
    assert within(found(), CONFIG) == ""
    assert exact(found(share=0.5, share_error=0.02), CONFIG) == ""  # exact files have closer bounds
