"""Policies: what a user writes in YAML, checked, and compiled to what decides on the device."""

from offload.policy.read import load_policy, parse_policy

__all__ = ["load_policy", "parse_policy"]
