"""The frozen VGG-16 in float32 by several engines, side by side: what TensorFlow leaves on the table.

Command: python benchmarks/engines.py [--size 224] [--batch 16] [--rounds 5] [--isa AVX2]

Every engine is a process of its own with the same random weights and pixels; they take turns, the median
round counts, and the features must agree with TensorFlow's to 1e-4 of their largest value. Engines that are
not installed are left out (`pip install jax torch onnx onnxruntime openvino`). `--isa AVX2` keeps oneDNN,
XLA and PyTorch to the instructions of an ordinary laptop, whatever the processor has; ONNX Runtime has no
such switch.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measure import machine, parse_options

CHANNELS = (64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)
Forward = Callable[[np.ndarray], np.ndarray]
# What is set in the environment of an engine's process, before anything is imported.
ENGINES: dict[str, dict[str, str]] = {
    "tensorflow": {},
    "tensorflow, XLA": {},
    "tensorflow without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "tensorflow, one thread pool": {"TF_NUM_INTEROP_THREADS": "1"},
    "jax": {"KERAS_BACKEND": "jax"},
    "torch": {},
    "torch, channels_last": {},
    "torch.compile": {},
    "onnxruntime": {},
    "openvino": {},
}


def weights(seed: int = 0) -> list[np.ndarray]:
    """He-normal kernels (3, 3, in, out) and small biases of VGG-16's thirteen convolutions."""
    numbers = np.random.default_rng(seed)
    values, width = [], 3
    for count in (count for block in CHANNELS for count in block):
        kernel = numbers.normal(0, (2 / (9 * width)) ** 0.5, (3, 3, width, count))
        values += [kernel.astype("float32"), numbers.normal(0, 0.01, count).astype("float32")]
        width = count
    return values


def keras_engine(name: str, size: int) -> Forward:
    """VGG-16 of Keras on its backend: compiled by TensorFlow's graph, XLA or JAX."""
    import keras

    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(size, size, 3))
    model.set_weights(weights())
    model.compile(jit_compile=name in ("tensorflow, XLA", "jax"))
    return lambda images: np.asarray(model.predict_on_batch(images))


def torch_network() -> Any:
    """The same convolutions as a PyTorch module, (B, 3, H, W)."""
    import torch
    from torch import nn

    layers, width, values = [], 3, iter(weights())
    for block in CHANNELS:
        for count in block:
            convolution = nn.Conv2d(width, count, 3, padding=1)
            kernel, bias = torch.from_numpy(next(values)), torch.from_numpy(next(values))
            convolution.load_state_dict({"weight": kernel.permute(3, 2, 0, 1), "bias": bias})
            layers += [convolution, nn.ReLU(inplace=True)]
            width = count
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).eval()


def torch_engine(name: str) -> Forward:
    """PyTorch, with its default layout or channels_last, or compiled."""
    import torch

    layout = torch.contiguous_format if name == "torch" else torch.channels_last
    network = torch_network().to(memory_format=layout)
    forward = torch.compile(network) if name == "torch.compile" else network

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
            return forward(pixels).permute(0, 2, 3, 1).numpy()

    return run


def exported_engine(name: str, batch: int, size: int) -> Forward:
    """ONNX Runtime and OpenVINO, from the exported PyTorch module."""
    import torch

    example = torch.zeros(batch, 3, size, size)
    if name == "openvino":
        import openvino

        compiled = openvino.compile_model(
            openvino.convert_model(torch_network(), example_input=example),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
        )
        return lambda images: compiled(images.transpose(0, 3, 1, 2))[0].transpose(0, 2, 3, 1)
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "vgg16.onnx")
        torch.onnx.export(torch_network(), (example,), file, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    entrance = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return session.run(None, {entrance: pixels})[0].transpose(0, 2, 3, 1)

    return run


def serve(name: str, batch: int, size: int, file: str) -> None:
    """An engine's process: after its first pass, which is saved, one timed pass per line that it is sent."""
    pixels = np.random.default_rng(1).normal(0, 60, (batch, size, size, 3)).astype("float32")
    if name.startswith("tensorflow") or name == "jax":
        run = keras_engine(name, size)
    elif name.startswith("torch"):
        run = torch_engine(name)
    else:
        run = exported_engine(name, batch, size)
    np.save(file, run(pixels))
    print(json.dumps(0.0), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(pixels)
        print(json.dumps(time.perf_counter() - start), flush=True)


def main() -> None:
    options = parse_options(__doc__, size=224, batch=16, rounds=5, isa="", engine="", file="")
    if options.engine:
        serve(options.engine, options.batch, options.size, options.file)
        return
    print(machine() + (f", kept to {options.isa}" if options.isa else ""))
    kept = {
        "ONEDNN_MAX_CPU_ISA": options.isa,
        "ATEN_CPU_CAPABILITY": options.isa.lower(),
        "XLA_FLAGS": f"--xla_cpu_max_isa={options.isa}",
    }
    environment = os.environ | (kept if options.isa else {})
    with tempfile.TemporaryDirectory() as folder:
        processes, seconds, features = {}, {}, {}
        for number, (name, variables) in enumerate(ENGINES.items()):
            file = Path(folder) / f"{number}.npy"
            command = [sys.executable, __file__, f"--engine={name}", f"--file={file}"]
            command += [f"--size={options.size}", f"--batch={options.batch}"]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment | variables,
            )
            assert process.stdin
            assert process.stdout
            assert process.stderr
            if process.stdout.readline():
                processes[name], seconds[name], features[name] = process, [], np.load(file)
            else:
                reason = process.stderr.read().strip().splitlines()[-1:]
                print(f"{name}: left out, {' '.join(reason)}")
        for _ in range(options.rounds):
            for name, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                seconds[name].append(json.loads(process.stdout.readline()))
        for process in processes.values():
            process.stdin.close()
            process.wait()
    reference, expected = statistics.median(seconds["tensorflow"]), features["tensorflow"]
    print(f"{'engine':<30} {'images/s':>9} {'tensorflow = 1':>15} {'largest difference':>19}")
    for name, rounds in seconds.items():
        median = statistics.median(rounds)
        difference = np.abs(features[name] - expected).max() / np.abs(expected).max()
        print(f"{name:<30} {options.batch / median:9.1f} {reference / median:15.2f} {difference:19.1e}")


if __name__ == "__main__":
    main()
