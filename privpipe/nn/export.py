"""A trained model as ONNX, for programs that know nothing of privpipe.

The graph is written node by node: the networks are few and simple, and torch's exporter would need further packages.
Opset 17 and IR version 8 (ONNX 1.12, 2022) are old enough for any runtime in use. Importing this module needs the
packages of the optional group `onnx`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privpipe import __version__
from privpipe.errors import PrivpipeError
from privpipe.files import write_bytes
from privpipe.layers import (
    Attention,
    BlockFullyConnected,
    BlockLinear,
    Folded,
    Patches,
    Residual,
    TokenLinear,
    TokenMean,
)
from privpipe.nn.bundle import Bundle, load_bundle
from privpipe.nn.fitted import Fitted
from privpipe.nn.inference import predict
from privpipe.perturb import RELEASES
from privpipe.reading import Reading

OPSET, IR_VERSION = 17, 8
FORMAT, FORMAT_VERSION = "privpipe-onnx", 1  # of the metadata
INPUT, OUTPUT, LAYOUT = "images", "probabilities", "NHWC"
RESAMPLING = "Lanczos"  # as `privpipe.data.raster` does it
TOLERANCE = 1e-4  # greatest difference of a probability between onnxruntime and torch
Array = NDArray[Any]


class Graph:
    """A chain of ONNX nodes in the making; each node takes what the last one gave."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = INPUT

    def add(self, operator: str, *constants: Array, **attributes: Any) -> None:
        """Append a node; `constants` are its further inputs."""
        number = len(self.nodes)
        names = [f"{operator}_{number}_{i}" for i in range(len(constants))]
        self.constants += [
            onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in zip(names, constants, strict=True)
        ]
        out = f"{operator}_{number}"
        self.nodes.append(onnx.helper.make_node(operator, [self.last, *names], [out], name=out, **attributes))
        self.last = out

    def add_of(self, operator: str, first: str, second: str) -> None:
        """Append a node of two earlier results."""
        out = f"{operator}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, [first, second], [out], name=out))
        self.last = out

    def reshape(self, *shape: int) -> None:
        self.add("Reshape", np.array(shape, np.int64))


def export_file(model_path: str | Path, target: str | Path) -> float:
    """Export a model file as ONNX and check what was exported.

    Its input `images` is float32 (N, H, W, C), perturbed images in the units in which they are stored (0..255 for
    uint8); its output `probabilities` is float32 (N, classes). N is free.

    Returns:
        The greatest difference of a probability between onnxruntime and torch.

    Raises:
        PrivpipeError: the model is missing or damaged, it cannot be exported, the export disagrees with torch (nothing
            is written), or `target` cannot be written.
    """
    bundle = load_bundle(model_path)
    content = to_onnx(bundle)
    difference = verify(bundle, content)
    write_bytes(target, content)
    return difference


def to_onnx(bundle: Bundle) -> bytes:
    """The normalisation, the network and a softmax as an ONNX file; the same model gives the same bytes.

    Raises:
        PrivpipeError: it was fitted to a release of a whole set, or has a layer that is not known here, or not so.
    """
    graph, architecture = Graph(), bundle.architecture
    if architecture.arch == Fitted.name:
        raise PrivpipeError(
            f"a model that was fitted to the numbers of {bundle.method} is no network, and cannot be written as ONNX. "
            "Use `privpipe predict`."
        )
    graph.add("Sub", bundle.normalise.mean.numpy())
    graph.add("Div", bundle.normalise.std.numpy())
    graph.add("Transpose", perm=[0, 3, 1, 2])
    for layer in bundle.model:
        _add_layer(graph, layer, architecture.channels)
    graph.add("Softmax", axis=1)
    graph.nodes[-1].output[0] = OUTPUT
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    size = architecture.image_size
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "privpipe",
            [helper.make_tensor_value_info(INPUT, float32, ["N", size, size, architecture.channels])],
            [helper.make_tensor_value_info(OUTPUT, float32, ["N", architecture.classes])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="privpipe",
        producer_version=__version__,
    )
    helper.set_model_props(model, metadata(bundle))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise PrivpipeError(
            f"the layers of {architecture.arch} do not fit together in ONNX ({error}). Use model.arch=baseline."
        ) from error
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def metadata(bundle: Bundle) -> dict[str, str]:
    """What a program must know to serve the model, by the keys of docs/serving.md; values other than text are JSON."""
    architecture, reading = bundle.architecture, Reading.parse(bundle.reading)
    size = architecture.image_size
    shape = (size, size, architecture.channels)
    image = bundle.image_shape or shape  # features have another one than the images that they are made of
    key = f" with the key {bundle.key_fingerprint}" if bundle.key_fingerprint else ""
    perturbed = f"perturbed by {bundle.method}{key} (privpipe perturb --format npy)"
    if bundle.method in RELEASES:  # a release is made of whole sets; its model takes images
        perturbed = "not perturbed (privpipe perturb --format npy, with perturb.method: none)"
    names = list(reading.channels) if reading.named else ["red", "green", "blue"]
    statistics = {"mean": bundle.normalise.mean.tolist(), "std": bundle.normalise.std.tolist()}
    about: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "privpipe_version": __version__,
        "prepare": f"upright, transparency on white, 8 bits; centre square; {RESAMPLING} to {image[0]}x{image[1]}; "
        f"{perturbed}; float32 of the values as stored, {LAYOUT}",
        "method": bundle.method,
        "k": bundle.k,
        "scope": bundle.scope,
        "sigma": float(bundle.sigma),
        "settings": bundle.settings,
        "key_fingerprint": bundle.key_fingerprint,
        "reading": bundle.reading,
        "image_shape": image,
        "channels": [] if bundle.image_shape else names,
        "crop": "centre square",
        "resampling": RESAMPLING,
        "input_name": INPUT,
        "input_shape": ["N", *shape],
        "input_layout": LAYOUT,
        "dtype": bundle.dtype,
        "image_range": bundle.image_range,
        "normalisation": "in the graph",
        "statistics": statistics | (bundle.statistics.describe() if bundle.statistics else {}),
        "output_name": OUTPUT,
        "output_shape": ["N", architecture.classes],
        "class_names": bundle.class_names,
        "arch": architecture.arch,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


def _add_layer(graph: Graph, layer: nn.Module, channels: int) -> None:
    """Append one layer of `privpipe.nn.models.build`, from and to (N, C, H, W), with the sizes used there."""
    match layer:
        case _ if not _as_ours(layer):
            raise _unknown(layer)
        case Folded():
            graph.add("Abs")
            values = graph.last
            graph.add("ReduceMean", axes=[1, 2, 3], keepdims=1)
            graph.add("Max", np.array(1e-6, np.float32))
            graph.add_of("Div", values, graph.last)
            graph.add("Sub", np.array(1, np.float32))
        case BlockFullyConnected():
            s, k = layer.side, layer.k
            graph.reshape(-1, channels, s, k, s, k)
            graph.add("Transpose", perm=[2, 4, 0, 1, 3, 5])
            graph.reshape(s * s, -1, k * k)  # one matrix product per block position, over images and colours
            graph.add("MatMul", layer.weight.detach().transpose(1, 2).numpy())
            graph.reshape(s, s, -1, channels, k, k)
            graph.add("Transpose", perm=[2, 3, 0, 4, 1, 5])
            graph.reshape(-1, channels, s * k, s * k)
        case BlockLinear():
            s, k = layer.side, layer.k
            graph.reshape(-1, channels, s, k, s, k)
            graph.add("Transpose", perm=[2, 4, 0, 1, 3, 5])
            graph.reshape(s * s, -1, channels * k * k)
            graph.add("MatMul", layer.weight.detach().transpose(1, 2).numpy())
            graph.add("Add", layer.bias.detach().reshape(s * s, 1, -1).numpy())
            graph.reshape(s, s, -1, channels, k, k)
            graph.add("Transpose", perm=[2, 3, 0, 4, 1, 5])
            graph.reshape(-1, channels, s * k, s * k)
        case Patches():
            s, k = layer.side, layer.k
            graph.reshape(-1, channels, s, k, s, k)
            graph.add("Transpose", perm=[0, 2, 4, 1, 3, 5])
            graph.reshape(-1, s * s, channels * k * k)
            _add_layer(graph, layer.embed, channels)
            graph.add("Add", layer.places.detach().numpy())
        case Attention():
            _add_attention(graph, layer)
        case TokenLinear():
            graph.add("MatMul", layer.weight.detach().T.numpy())
            graph.add("Add", layer.bias.detach().numpy())
        case nn.LayerNorm():
            graph.add("LayerNormalization", *_weights(layer), axis=-1, epsilon=layer.eps)
        case TokenMean():
            graph.add("ReduceMean", axes=[1], keepdims=0)
        case nn.Conv2d():
            graph.add("Conv", *_weights(layer), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        case nn.BatchNorm2d():
            statistics = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            graph.add("BatchNormalization", *(_array(values) for values in statistics), epsilon=layer.eps)
        case nn.ReLU():
            graph.add("Relu")
        case nn.MaxPool2d():
            graph.add("MaxPool", kernel_shape=[layer.kernel_size] * 2, strides=[layer.kernel_size] * 2)
        case nn.Flatten():
            graph.add("Flatten", axis=1)
        case nn.Linear():
            graph.add("Gemm", *_weights(layer), transB=1)
        case nn.Sequential():
            for inner in layer:
                _add_layer(graph, inner, channels)
        case Residual():
            before = graph.last
            _add_layer(graph, layer.body, channels)
            graph.add_of("Add", graph.last, before)
        case _:
            raise _unknown(layer)


def _unknown(layer: nn.Module) -> PrivpipeError:
    name = f"{type(layer).__name__}({layer.extra_repr()})"
    return PrivpipeError(f"the export does not know the layer {name}. Use model.arch=baseline.")


def _as_ours(layer: nn.Module) -> bool:
    """Whether a layer of torch has the settings that `_add_layer` writes."""
    match layer:
        case nn.Conv2d():
            how = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
            return how == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
        case nn.MaxPool2d():
            side = layer.kernel_size
            return isinstance(side, int) and (layer.stride, layer.padding, layer.dilation) == (side, 0, 1)
        case nn.BatchNorm2d():
            return layer.affine and layer.track_running_stats
        case nn.LayerNorm():
            return layer.elementwise_affine and len(layer.normalized_shape) == 1
        case nn.Flatten():
            return (layer.start_dim, layer.end_dim) == (1, -1)
    return True


def _add_attention(graph: Graph, layer: Attention) -> None:
    """Queries, keys and values from one product; then softmax(q kᵀ / sqrt(width of a head)) v."""
    width, heads = layer.out.in_features, layer.heads
    before, parts = graph.last, []
    weights = layer.parts.weight.detach().chunk(3)
    for weight, order in zip(weights, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
        graph.last = before
        graph.add("MatMul", weight.T.numpy())
        graph.add("Reshape", np.array([0, 0, heads, width // heads], np.int64))
        graph.add("Transpose", perm=order)  # keys transposed
        parts.append(graph.last)
    graph.add_of("MatMul", parts[0], parts[1])
    graph.add("Mul", np.array((width // heads) ** -0.5, np.float32))
    graph.add("Softmax", axis=-1)
    graph.add_of("MatMul", graph.last, parts[2])
    graph.add("Transpose", perm=[0, 2, 1, 3])
    graph.add("Reshape", np.array([0, 0, width], np.int64))
    graph.add("MatMul", layer.out.weight.detach().T.numpy())
    graph.add("Add", layer.out.bias.detach().numpy())


def _weights(layer: nn.Conv2d | nn.Linear | nn.LayerNorm) -> list[Array]:
    return [_array(values) for values in (layer.weight, layer.bias) if values is not None]


def _array(values: Tensor | None) -> Array:
    assert values is not None
    array: Array = values.detach().numpy()
    return array


def verify(bundle: Bundle, content: bytes) -> float:
    """Run an ONNX file on random images that are distributed like the training set, and compare with torch.

    Returns:
        The greatest difference of a probability.

    Raises:
        PrivpipeError: it is `TOLERANCE` or more, or not a number.
    """
    size, channels = bundle.architecture.image_size, bundle.architecture.channels
    noise = torch.randn(5, size, size, channels, generator=torch.Generator().manual_seed(0))
    images = noise * bundle.normalise.std + bundle.normalise.mean
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    answers = session.run([OUTPUT], {INPUT: images.numpy()})[0]
    expected = predict(bundle.model, bundle.normalise, images).softmax(1).numpy()
    difference = float(np.abs(answers - expected).max())
    if not difference < TOLERANCE:
        raise PrivpipeError(
            f"the exported model disagrees with torch: a probability differs by {difference:g}, and {TOLERANCE:g} is "
            "allowed. Nothing was written. Please report this with the versions of onnx and onnxruntime."
        )
    return difference
