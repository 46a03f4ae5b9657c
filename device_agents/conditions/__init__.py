"""The conditions of a fair run: how warm the device may be, which settings are held, what else goes on there."""
