"""Policies over bandwidth traces: the same deciding objects as live, in a simulated world. Every figure is simulated."""
