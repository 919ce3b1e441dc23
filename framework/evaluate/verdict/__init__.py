"""Whether a run was worth it: the comparison of two evaluations, and the verdict on them."""

from framework.evaluate.verdict.compare import compare
from framework.evaluate.verdict.failing import named_by
from framework.evaluate.verdict.judge import judge

__all__ = ["compare", "judge", "named_by"]
