"""What is in a model: weights by bit width, operators, multiply-accumulates, predicted memory, and who can run it."""

from exporters.inspection.inspect import inspect_model
from exporters.inspection.report import Inspection

__all__ = ["Inspection", "inspect_model"]
