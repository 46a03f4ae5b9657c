"""From float weights to each family: simple algorithms, each with its source. No data, no training, no randomness
beyond a stated seed."""
