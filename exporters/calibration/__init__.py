"""What a model is calibrated with: a file, a folder, a Python function; all of it, or evenly over the timesteps."""
