"""A model as pieces that can be placed, and the halves that a placement makes of it."""
