"""GPTQ checkpoints: version 1 packed by auto-gptq 0.7.1, version 2 by gptqmodel 7.7.0, expanded by the same code.

    pip install torch==2.13.0 safetensors==0.8.0 transformers && pip install --no-deps auto-gptq==0.7.1 gptqmodel==7.7.0
    python make_gptq.py FOLDER

auto-gptq's package does not import beside a new transformers, so its QuantLinear is imported without the package's
``__init__``; nothing of it is changed. Its forward pass of an identity matrix gives the expected values (float16).
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file


def auto_gptq_linear():
    """auto-gptq's QuantLinear, whose pack() writes version 1 and runs without CUDA."""
    name = "auto_gptq.nn_modules.qlinear.qlinear_cuda"
    if name in sys.modules:
        return sys.modules[name].QuantLinear
    place = importlib.util.find_spec("auto_gptq").submodule_search_locations[0]
    for package in ("auto_gptq", "auto_gptq.nn_modules"):
        module = types.ModuleType(package)
        module.__path__ = [place + package.removeprefix("auto_gptq").replace(".", "/")]
        sys.modules[package] = module
    return importlib.import_module(name).QuantLinear


def fitted(weight, bits, group, g_idx, sym, lowest_zero):
    """Round-to-nearest scales (float16 values) and zero points [N, G] over the columns that share a g_idx."""
    top = 2**bits - 1
    count = int(g_idx.max()) + 1
    scales, zeros = torch.empty(len(weight), count), torch.empty(len(weight), count)
    for number in range(count):
        part = weight[:, g_idx == number]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if sym:
            scales[:, number] = 2 * part.abs().amax(1) / top
            zeros[:, number] = (top + 1) // 2
        else:
            scales[:, number] = (high - low) / top
            zeros[:, number] = (-low / scales[:, number]).round().clamp(lowest_zero, top)
    return scales.half().float(), zeros


class Codes:
    """A layer whose weights are exactly on the grid, as GPTQ leaves them."""

    def __init__(self, columns, rows, bits, group, sym, order, lowest_zero, bias):
        g_idx = torch.arange(columns, dtype=torch.int32) // group
        if order:
            g_idx = g_idx[torch.randperm(columns)].contiguous()
        weight = torch.randn(rows, columns) * 0.1
        scales, zeros = fitted(weight, bits, group, g_idx, sym, lowest_zero)
        wide, offset = scales[:, g_idx.long()], zeros[:, g_idx.long()]
        codes = (weight / wide + offset).round().clamp(0, 2**bits - 1)
        self.layer = torch.nn.Linear(columns, rows, bias=bias)
        self.layer.weight.data = (codes - offset) * wide
        self.scales, self.zeros, self.g_idx = scales, zeros, g_idx


def save(out, arrays, expected, config):
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in arrays.items()}, out / "model.safetensors")
    save_file(expected, out / "expected.safetensors")
    (out / "config.json").write_text(json.dumps({"quantization_config": config}, indent=2) + "\n")


def version_1(folder, name, bits, sym, order):
    torch.manual_seed(bits)
    quantised = auto_gptq_linear()
    arrays, expected = {}, {}
    for key, columns, rows, bias in (("up", 96, 64, False), ("down", 64, 32, True)):
        made = Codes(columns, rows, bits, 32, sym, order, 1, bias)
        packed = quantised(bits, 32, columns, rows, bias, weight_dtype=torch.float32)
        packed.pack(made.layer, made.scales.clone(), made.zeros.clone(), made.g_idx)
        packed.scales = packed.scales.half()
        arrays.update({f"{key}.{part}": value for part, value in packed.state_dict().items()})
        packed.bias = None
        packed.scales = packed.scales.float()
        expected[f"{key}.weight"] = packed(torch.eye(columns)).t().half().contiguous()
    config = {
        "bits": bits,
        "group_size": 32,
        "damp_percent": 0.01,
        "desc_act": order,
        "sym": sym,
        "true_sequential": True,
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
    }
    if name == "gptq4":  # as older files have it: no format is named, and it means version 1
        del config["checkpoint_format"]
    save(folder / name, arrays, expected, config)


def version_2(folder, name, bits, turned=False):
    """Version 2; ``turned``: the same turned to version 1 by the package, whose subtraction borrows across fields."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    torch.manual_seed(7 * bits)
    arrays, expected = {}, {}
    for key, columns, rows, bias in (("up", 96, 64, False), ("down", 64, 32, True)):
        made = Codes(columns, rows, bits, 32, False, False, 0, bias)
        made.layer.weight.data[:4] = made.layer.weight.data[:4].abs()  # zero points of 0 occur
        made = refit(made, bits)
        packed = TorchLinear(
            bits=bits, group_size=32, sym=False, desc_act=False, in_features=columns, out_features=rows, bias=bias
        )
        packed.pack_original(made.layer, made.scales.clone(), made.zeros.clone(), made.g_idx)
        packed.post_init()
        expected[f"{key}.weight"] = packed.dequantize_weight().t().contiguous()
        if turned:
            convert_gptq_v2_to_v1_format_module(packed, types.SimpleNamespace(bits=bits, pack_dtype=torch.int32))
        arrays.update({f"{key}.{part}": value for part, value in packed.state_dict().items()})
    config = {
        "bits": bits,
        "group_size": 32,
        "desc_act": False,
        "sym": False,
        "quant_method": "gptq",
        "checkpoint_format": "gptq" if turned else "gptq_v2",
    }
    if turned:
        config["meta"] = {"quantizer": ["gptqmodel:7.7.0"]}  # as the package's save_quantized writes it
    save(folder / name, arrays, expected, config)


def refit(made, bits):
    weight = made.layer.weight.data
    made.scales, made.zeros = fitted(weight, bits, 32, made.g_idx, False, 0)
    wide, offset = made.scales[:, made.g_idx.long()], made.zeros[:, made.g_idx.long()]
    made.layer.weight.data = ((weight / wide + offset).round().clamp(0, 2**bits - 1) - offset) * wide
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with torch.inference_mode():
        version_1(folder, "gptq4", 4, True, False)
        version_1(folder, "gptq4_asym_order", 4, False, True)
        version_1(folder, "gptq3", 3, False, False)
        version_1(folder, "gptq2", 2, False, False)
        version_1(folder, "gptq8", 8, True, False)
        version_2(folder, "gptq4_v2", 4)
        version_2(folder, "gptq3_v2", 3)
        version_2(folder, "gptq4_carries", 4, turned=True)
