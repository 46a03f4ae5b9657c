"""Benchmark orchestration: models x devices x options, through the agent, into the store."""

from mobile.benchmark.collecting import Collecting, attach, iter_attach
from mobile.benchmark.conditions import ConditionOptions
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.orchestrate import Manner, Request, bench, iter_bench
from mobile.benchmark.outcomes import BenchResult, Failure, Left, Progress
from mobile.benchmark.quality import Evaluation, classes, evaluate, outputs

__all__ = [
    "BenchOptions",
    "BenchResult",
    "Collecting",
    "ConditionOptions",
    "Evaluation",
    "Failure",
    "Left",
    "Manner",
    "Progress",
    "Request",
    "attach",
    "bench",
    "classes",
    "evaluate",
    "iter_attach",
    "iter_bench",
    "outputs",
]
