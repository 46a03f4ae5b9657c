"""Comparing measurements: which differences are there, how large, and which cannot be told yet."""
