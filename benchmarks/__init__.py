"""Side-by-side measurements: each command prints ours, the peer or limit, and the ratio, from one run."""
