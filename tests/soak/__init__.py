"""Long runs of random faults: `make soak`, and a tenth of each in CI."""
