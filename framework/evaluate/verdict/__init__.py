"""Whether a run was worth it: the comparison of evaluations, and the verdict on two of them."""

from framework.evaluate.verdict.compare import compare
from framework.evaluate.verdict.failing import named_by
from framework.evaluate.verdict.judge import judge
from framework.evaluate.verdict.systems import Comparison, compare_systems

__all__ = ["Comparison", "compare", "compare_systems", "judge", "named_by"]
