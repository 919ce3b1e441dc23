"""Whether a run was worth it: the comparison of two evaluations, and the verdict on them."""

from framework.verdict.compare import compare
from framework.verdict.judge import judge

__all__ = ["compare", "judge"]
