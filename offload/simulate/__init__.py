"""Policies over bandwidth traces: the objects that decide live, in a simulated world. Every figure is simulated."""
