"""Benchmark orchestration: models x devices x options, through the agent, into the store."""

from mobile.benchmark.options import BenchOptions
from mobile.benchmark.orchestrate import BenchResult, Failure, Progress, bench, iter_bench
from mobile.benchmark.quality import Evaluation, evaluate

__all__ = ["BenchOptions", "BenchResult", "Evaluation", "Failure", "Progress", "bench", "evaluate", "iter_bench"]
