"""Planning a split: where each piece of a model runs, which tensors cross, and at what predicted cost."""
