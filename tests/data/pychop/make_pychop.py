"""Makes formats.npz with Pychop: `pip install pychop==0.6.2`, then `python make_pychop.py`."""

from pathlib import Path

import numpy as np
from pychop import Chop, mx_formats

FORMATS = [(5, 10), (8, 7), (4, 3), (5, 2), (5, 4), (3, 2), (4, 6), (2, 3)]
MODES = {"nearest": 1, "up": 2, "down": 3, "zero": 4}
MX = {
    "mxfp8e4m3": "mxfp8_e4m3", "mxfp8e5m2": "mxfp8_e5m2", "mxfp6e3m2": "mxfp6_e3m2", "mxfp6e2m3": "mxfp6_e2m3",
    "mxfp4": "mxfp4_e2m1",
}  # fmt: skip

random = np.random.default_rng(0)
arrays = {}
for exponent, mantissa in FORMATS:
    name = f"e{exponent}m{mantissa}"
    largest = 2.0 ** (2 ** (exponent - 1) - 1) * (2 - 2.0**-mantissa)
    values = random.normal(size=400) * 2.0 ** random.integers(-8, 8, 400)
    arrays[name] = np.clip(values.astype(np.float32), -largest, largest).astype(np.float32)
    for mode, number in MODES.items():
        chop = Chop(exp_bits=exponent, sig_bits=mantissa, rmode=number, subnormal=True)
        arrays[f"{name} {mode}"] = np.asarray(chop(arrays[name].astype(np.float64))).astype(np.float32)
arrays["mx"] = random.normal(size=(4, 64)).astype(np.float32)
for ours, theirs in MX.items():
    blocks = mx_formats.mx_quantize(arrays["mx"].ravel(), format=theirs, block_size=32)
    arrays[ours] = np.asarray(blocks).astype(np.float32).reshape(4, 64)
np.savez_compressed(Path(__file__).with_name("formats.npz"), **arrays)
