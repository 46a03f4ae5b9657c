"""Train the example classifier on Fashion-MNIST and write it as ONNX, with 1,000 labelled test images.

    python -m mobile.example.train --data DIR --out DIR [--epochs N]

`--data` names the folder with the four idx .gz files (Debian: /usr/share/datasets/fashion-mnist). Needs the
extra `torch` of edgewise. The test images are used once, at the end, on the file that was written. Progress
goes to stderr, the figures to stdout as JSON. `factory` and `example_inputs` also serve
`edgewise export mobile/example/train.py:factory`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.example import INPUT_SCALE, calibration_path, evaluation_path, model_path, read_split

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch
    from numpy.typing import NDArray

SEED = 7
EPOCHS = 14
BATCH = 128
TRAIN_COUNT = 60_000
TEST_COUNT = 10_000
SAMPLES_PER_CLASS = 100
CALIBRATION_PER_CLASS = 20
CHANNELS = (32, 64, 64, 96, 128)
POOL_AFTER = (1, 3)
OPSET = 18

log = logging.getLogger(__name__)


def factory() -> torch.nn.Module:
    """Return the untrained classifier in evaluation mode, with the same weights at every call.

    float32 [batch, 1, 28, 28] in 0..1 -> logits, float32 [batch, 10].
    """
    import torch
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for number, (inputs, outputs) in enumerate(zip((1, *CHANNELS[:-1]), CHANNELS, strict=True), start=1):
            layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU()
            if number in POOL_AFTER:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
        layers["average"] = nn.AvgPool2d(7)
        layers["flatten"] = nn.Flatten()
        layers["classifier"] = nn.Linear(CHANNELS[-1], 10)
    return nn.Sequential(layers).eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return the positional inputs of one call: a seeded float32 [2, 1, 28, 28] in 0..1.

    Two images, because torch.export takes a dimension of 1 for a constant.
    """
    import torch

    return (torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(SEED)),)


def train(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """Return nothing; train `model` in place on uint8 images [n, 1, 28, 28] and labels [n].

    SGD with Nesterov momentum over one cycle of warm-up and cosine decay.
    """
    import torch
    from torch.nn.functional import cross_entropy

    generator = torch.Generator().manual_seed(SEED)
    network: Any = model.train()
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=steps, pct_start=0.15, cycle_momentum=False
    )
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            logits = network(_augment(images[batch], generator))
            loss: Any = cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        log.info("epoch %d of %d: training loss %.4f", epoch + 1, epochs, total / len(images))
    model.eval()


def _augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Float images in 0..1, each shifted by up to two pixels each way and mirrored half of the time."""
    import torch

    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images.float() / 255, (2, 2, 2, 2))
    down, right = torch.randint(0, 5, (2, count, 1), generator=generator)
    rows, columns = torch.arange(height) + down, torch.arange(width) + right
    each = torch.arange(count)[:, None, None]
    shifted = padded[each, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
    mirrored = torch.rand((count, 1, 1, 1), generator=generator) < 0.5
    return torch.where(mirrored, shifted.flip(-1), shifted)


def fold_batch_norm(model: torch.nn.Module) -> torch.nn.Module:
    """Return the same function in evaluation mode, each batch norm folded into the convolution before it."""
    from torch import nn
    from torch.nn.utils import fusion

    fuse: Any = fusion.fuse_conv_bn_eval
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in model.eval().named_children():
        if isinstance(layer, nn.BatchNorm2d):
            previous, convolution = layers.popitem()
            layers[previous] = fuse(convolution, layer)
        else:
            layers[name] = layer
    return nn.Sequential(layers).eval()


def export(model: torch.nn.Module, path: Path) -> None:
    """Write `model` as one ONNX file whose nodes and values are named after the layers."""
    import onnx
    import torch

    folded: Any = fold_batch_norm(model)
    program = torch.onnx.export(
        folded.to(memory_format=torch.contiguous_format),
        example_inputs(),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    proto = _tidy(program.model_proto, [name for name, _ in folded.named_children()])
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _tidy(model: onnx.ModelProto, layers: list[str]) -> onnx.ModelProto:
    """The model without the exporter's traces (they hold paths), nodes and values named after layers."""
    graph = model.graph
    if len(graph.node) != len(layers):
        raise ValueError(f"{len(graph.node)} nodes for {len(layers)} layers: the exporter changed its ways")
    names = {node.output[0]: layer for node, layer in zip(graph.node, layers, strict=True)}
    names |= {value.name: value.name for value in graph.output}
    names |= {value.name: "flatten.shape" for value in graph.initializer if value.name.startswith("val_")}
    for node, layer in zip(graph.node, layers, strict=True):
        node.name = layer
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in (*graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    stored = {value.name for value in graph.initializer}
    computed = [value for value in graph.value_info if value.name not in stored]
    graph.ClearField("value_info")
    graph.value_info.extend(computed)
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.name = "fashion_mnist"
    model.producer_name, model.producer_version = "mobile.example.train", f"torch {_torch_version()}"
    model.doc_string = "The example of edgewise, a Fashion-MNIST classifier: image in 0..1 to ten logits."
    return model


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def balanced_sample(labels: NDArray[np.uint8], per_class: int = SAMPLES_PER_CLASS) -> NDArray[np.uint16]:
    """Return the places of ``per_class`` seeded, random entries of each class, in ascending order."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    by_class = [np.flatnonzero(labels == label) for label in range(10)]
    chosen = [generator.choice(places, per_class, replace=False) for places in by_class]
    return np.sort(np.concatenate(chosen)).astype(np.uint16)


def predict(path: Path, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class that the ONNX file at `path` gives each uint8 image [n, 1, 28, 28]."""
    import numpy as np

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    classes = [session.run(None, {"image": part})[0].argmax(axis=1) for part in _float_batches(images)]
    return np.concatenate(classes)


def _float_batches(images: NDArray[np.uint8], size: int = 500) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for start in range(0, len(images), size):
        yield images[start : start + size].astype(np.float32) * np.float32(INPUT_SCALE["image"])


def write_all(data: Path, out: Path, epochs: int) -> dict[str, Any]:
    """Train, write the files to `out`, and return the accuracy on all test images and on the sample."""
    import numpy as np
    import torch

    train_images, train_labels = read_split(data, "train", TRAIN_COUNT)
    images, labels = read_split(data, "t10k", TEST_COUNT)
    model = factory()
    train(model, torch.tensor(train_images), torch.tensor(train_labels, dtype=torch.long), epochs)
    out.mkdir(parents=True, exist_ok=True)
    written = out / model_path().name
    export(model, written)
    index = balanced_sample(labels)
    np.savez_compressed(out / evaluation_path().name, image=images[index], label=labels[index], index=index)
    calibration = balanced_sample(train_labels, CALIBRATION_PER_CLASS)
    np.savez_compressed(out / calibration_path().name, image=train_images[calibration])
    correct = predict(written, images) == labels
    everything, sample = float(correct.mean()), float(correct[index].mean())
    return {"model": written.name, "epochs": epochs, "accuracy_10000": everything, "accuracy_1000": sample}


def main(arguments: list[str] | None = None) -> int:
    """Return 0 after training as the command line says; leave with 2 when the data or a value is unusable."""
    import torch

    parser = argparse.ArgumentParser("python -m mobile.example.train", description="Train the example model.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the four idx .gz files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model and the sample to")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    try:
        figures = write_all(options.data, options.out, options.epochs)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
