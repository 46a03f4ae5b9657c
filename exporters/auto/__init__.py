"""`--scheme auto`: schemes are tried on labelled data, and the smallest that is within the budget is taken."""

from exporters.auto.budget import Budget, parse_budget
from exporters.auto.trials import DEFAULT_SCHEMES, Trial, Trials, search

__all__ = ["DEFAULT_SCHEMES", "Budget", "Trial", "Trials", "parse_budget", "search"]
