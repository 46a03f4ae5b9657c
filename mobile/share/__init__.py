"""Handing runs on: as one archive that another person imports, and as tables for other programs."""
