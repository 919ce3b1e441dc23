"""Whether a run was worth it: the comparison of two evaluations, and the verdict on them."""

from framework.api.results import Results
from framework.verdict.compare import compare
from framework.verdict.judge import judge

__all__ = ["Results", "compare", "judge"]
