"""torchao 0.18.0: state dicts flattened to safetensors by its own support, and PT2E-quantised programs.

    pip install torch==2.13.0 torchao==0.18.0 safetensors==0.8.0
    python make_torchao.py FOLDER

``expected.safetensors`` holds dequantize() of the subclass tensors; for the programs what quantized_decomposed's own
dequantize operators give on the stored integers.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def net(dtype):
    torch.manual_seed(5)
    layers = {"up": torch.nn.Linear(96, 64, bias=False), "act": torch.nn.ReLU(), "down": torch.nn.Linear(64, 21)}
    return torch.nn.Sequential(__import__("collections").OrderedDict(layers)).to(dtype).eval()


def state_dicts(folder):
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup

    configs = {
        "torchao_int8": Int8WeightOnlyConfig(version=2),
        "torchao_int4_group": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
        "torchao_int3_channel": IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=PerAxis(0)),
    }
    for name, config in configs.items():
        model = net(torch.bfloat16)
        quantize_(model, config)
        state = {
            key: value.data if isinstance(value, torch.nn.Parameter) else value
            for key, value in model.state_dict().items()
        }
        arrays, metadata = flatten_tensor_state_dict(state)
        out = folder / name
        out.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in arrays.items()}, out / "model.safetensors", metadata)
        save_file(
            {f"{key}.weight": getattr(model, key).weight.dequantize().contiguous() for key in ("up", "down")},
            out / "expected.safetensors",
        )


def program(folder):
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    out = folder / "pt2e_int8"
    out.mkdir(parents=True, exist_ok=True)
    example = (torch.randn(4, 96),)
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(net(torch.float32), example).module(), quantizer)
    for _ in range(4):
        prepared(torch.randn(4, 96))
    converted = convert_pt2e(prepared)
    exported = torch.export.export(converted, example)
    torch.export.save(exported, out / "model.pt2")
    expected = {}
    state = {**exported.state_dict, **exported.constants}
    inputs = {spec.arg.name: spec.target for spec in exported.graph_signature.input_specs if spec.target}
    for node in exported.graph.nodes:
        if node.op == "call_function" and "dequantize_per_channel" in str(node.target):
            arguments = [state[inputs[a.name]] if isinstance(a, torch.fx.Node) else a for a in node.args]
            values = node.target(*arguments)
            expected["up.weight" if values.shape[1] == 96 else "down.weight"] = values.contiguous()
    save_file(expected, out / "expected.safetensors")
    print(exported.graph)
    (out / "config.json").write_text(json.dumps({}) + "\n")


if __name__ == "__main__":
    state_dicts(Path(sys.argv[1]))
    program(Path(sys.argv[1]))
