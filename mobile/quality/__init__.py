"""Task quality: evaluation sets, metrics with their intervals, and what a device's answers are worth."""

from mobile.quality.assess import alike, assess, real_outputs
from mobile.quality.metrics import METRICS, Metric, Scored, check_needs, default_metric, metric
from mobile.quality.sets import EvaluationSet, open_set

__all__ = [
    "METRICS",
    "EvaluationSet",
    "Metric",
    "Scored",
    "alike",
    "assess",
    "check_needs",
    "default_metric",
    "metric",
    "open_set",
    "real_outputs",
]
