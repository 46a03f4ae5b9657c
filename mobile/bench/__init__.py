"""Benchmark orchestration: models x devices x options, through the agent, into the store."""

from mobile.bench.evaluate import Evaluation, evaluate
from mobile.bench.options import BenchOptions
from mobile.bench.orchestrate import BenchResult, Failure, Progress, bench, iter_bench

__all__ = ["BenchOptions", "BenchResult", "Evaluation", "Failure", "Progress", "bench", "evaluate", "iter_bench"]
