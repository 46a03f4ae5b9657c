"""A lab of virtual devices on one Linux machine; see README.md beside this file."""

from tests.lab.lab import Lab
from tests.lab.process import LabError
from tests.lab.requirements import missing

__all__ = ["Lab", "LabError", "missing"]
