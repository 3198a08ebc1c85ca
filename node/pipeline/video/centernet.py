"""How does the CenterNet of an npm package become models that OpenCV can run?

The package has it for TensorFlow.js: a graph as JSON, weights as half floats, pictures with the channels last. Written here is
the part up to the two maps that a detector needs, as ONNX with the channels first, once for each input size. Padding is written
out in numbers: OpenCV 5.0 computes `auto_pad` wrongly and loses a third of the objects (decision 0008).

`python -m node.pipeline.video.centernet FOLDER TARGET` makes the derived assets; `node.assets.fetch` runs it as a child.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from node.assets import path as asset_path
from node.errors import Invalid
from node.pipeline.video.onnx import Graph

SIZES: Final = (384, 256, 320, 512)  # sides of the square that the network sees, by model_id: the default, then cheap to dear
STRIDE: Final = 4  # pixels of the input for one cell of the outputs
CLASSES: Final = 80
HEAT: Final = "heat"
LTRB: Final = "ltrb"
_INPUT: Final = "tower_0/images"
_OUTPUTS: Final = {HEAT: ("tower_0/keypoints", CLASSES), LTRB: ("tower_0/wh", 4)}

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of the TensorFlow.js graph; names of inputs without their output number."""

    operator: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, tuple[int, ...] | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the ONNX graph: its name, and the side of its square map, 1 for a value per channel."""

    name: str
    side: int


def read(document: bytes, binary: bytes) -> tuple[dict[str, Node], dict[str, Weights]]:
    """The graph and the weights of a TensorFlow.js model.

    Raises:
        Invalid: the weights are more or fewer than the document says.
    """
    model = json.loads(document)
    nodes = {
        entry["name"]: Node(
            entry["op"],
            tuple(name.partition(":")[0] for name in entry.get("input", ())),
            {name: _attribute(value) for name, value in entry.get("attr", {}).items()},
        )
        for entry in model["modelTopology"]["node"]
    }
    weights: dict[str, Weights] = {}
    place = 0
    for entry in model["weightsManifest"][0]["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if place + count * kind.itemsize > len(binary):
            raise Invalid(f"the weights end before those of {entry['name']}")
        weights[entry["name"]] = np.frombuffer(binary, kind, count, place).reshape(entry["shape"]).astype(np.float32)
        place += count * kind.itemsize
    if place != len(binary):
        raise Invalid(f"{len(binary) - place} bytes follow the last weights")
    return nodes, weights


def convert(nodes: Mapping[str, Node], weights: Mapping[str, Weights], size: int) -> bytes:
    """The detector for pictures of `size` × `size` as ONNX: RGB 0..255 [1,3,S,S] → `heat` [1,80,S/4,S/4] after the sigmoid,
    and `ltrb` [1,4,S/4,S/4], the distances from four times the cell's place to the box's edges in pixels of the input.

    Raises:
        Invalid: the graph has an operation that this converter does not know.
    """
    conversion = _Conversion(nodes, weights, size)
    for name, (source, channels) in _OUTPUTS.items():
        conversion.give(name, source, channels)
    return conversion.graph.model()


class _Conversion:
    def __init__(self, nodes: Mapping[str, Node], weights: Mapping[str, Weights], size: int) -> None:
        self.graph = Graph("centernet")
        self._nodes, self._weights = nodes, weights
        self._done = {_INPUT: Tensor(self.graph.take(_INPUT, (1, 3, size, size)), size)}

    def give(self, name: str, source: str, channels: int) -> None:
        tensor = self._tensor(source)
        self.graph.node("Identity", [tensor.name], name)
        self.graph.give(name, (1, channels, tensor.side, tensor.side))

    def _tensor(self, name: str) -> Tensor:
        """The value that the node gives, with everything that it needs before it."""
        if name not in self._done:
            self._done[name] = self._constant(name) if name in self._weights else self._emit(name, self._nodes[name])
        return self._done[name]

    def _emit(self, name: str, node: Node) -> Tensor:
        match node.operator:
            case "_FusedConv2D" | "Conv2D" | "FusedDepthwiseConv2dNative" | "DepthwiseConv2dNative":
                return self._convolution(name, node)
            case "Identity":
                return self._tensor(node.inputs[0])
            case "Add" | "Mul":
                left, right = (self._tensor(each) for each in node.inputs)
                return Tensor(self.graph.node(node.operator, [left.name, right.name], name), max(left.side, right.side))
            case "Relu" | "Relu6" | "Sigmoid":
                return self._activation(name, node.operator, self._tensor(node.inputs[0]))
            case "Mean":  # over rows and columns, wherever this graph has one
                source = self._tensor(node.inputs[0])
                return Tensor(self.graph.node("ReduceMean", [source.name], name, {"axes": (2, 3), "keepdims": 1}), 1)
            case "ConcatV2":  # of channels; the last input is the axis
                parts = [self._tensor(each) for each in node.inputs[:-1]]
                return Tensor(self.graph.node("Concat", [part.name for part in parts], name, {"axis": 1}), parts[0].side)
            case "ResizeBilinear":
                return self._doubled(name, self._tensor(node.inputs[0]))
            case _:
                raise Invalid(f"the converter knows no {node.operator}, which '{name}' is")

    def _convolution(self, name: str, node: Node) -> Tensor:
        source, kernel = self._tensor(node.inputs[0]), self._weights[node.inputs[1]]
        rows, columns, channels, outputs = kernel.shape
        if node.operator.removeprefix("Fused").startswith("Depthwise"):
            groups, turned = channels, kernel.transpose(2, 3, 0, 1).reshape(channels * outputs, 1, rows, columns)
        else:
            groups, turned = 1, kernel.transpose(3, 2, 0, 1)
        inputs = [source.name, self.graph.constant(f"{name}/weights", turned)]
        fused = list(node.attributes.get("fused_ops", ()))
        if "BiasAdd" in fused:
            fused.remove("BiasAdd")
            inputs.append(self.graph.constant(f"{name}/bias", self._weights[node.inputs[2]]))
        stride = int(node.attributes["strides"][1])
        padded = node.attributes["padding"] == ("SAME",) or rows == stride == 1  # where both kinds of padding are none
        if rows != columns or not padded or set(node.attributes["dilations"]) != {1}:
            raise Invalid(f"the converter takes square kernels with padding SAME and no dilation, which '{name}' has not")
        begin, end, side = same_padding(source.side, rows, stride)
        attributes = {
            "group": groups,
            "kernel_shape": (rows, columns),
            "pads": (begin, begin, end, end),
            "strides": (stride, stride),
        }
        result = Tensor(self.graph.node("Conv", inputs, f"{name}/conv" if fused else name, attributes), side)
        for activation in fused:
            result = self._activation(name, str(activation), result)
        return result

    def _activation(self, name: str, operator: str, source: Tensor) -> Tensor:
        if operator != "Relu6":
            return Tensor(self.graph.node(operator, [source.name], name), source.side)
        bounds = [self.graph.constant(f"bound/{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
        return Tensor(self.graph.node("Clip", [source.name, *bounds], name), source.side)

    def _doubled(self, name: str, source: Tensor) -> Tensor:
        """Every resize in this graph doubles the map."""
        factors = self.graph.constant("factors", np.array([1, 1, 2, 2], np.float32))
        attributes = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
        return Tensor(self.graph.node("Resize", [source.name, "", factors], name, attributes), 2 * source.side)

    def _constant(self, name: str) -> Tensor:
        """An operand: one number, or one for each channel."""
        values = self._weights[name]
        if values.ndim == 4:
            values = values.transpose(0, 3, 1, 2)
        elif values.ndim == 1:
            values = values.reshape(1, -1, 1, 1)
        return Tensor(self.graph.constant(name, values), 1)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Zeros before, zeros after, and the side that comes out, where TensorFlow says SAME: the odd zero comes after.

    Source: TensorFlow's notes on convolution and padding.
    """
    outcome = -(-side // stride)
    total = max((outcome - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2, outcome


def _attribute(value: Mapping[str, Any]) -> tuple[int, ...] | tuple[str, ...]:
    """Those attributes that a converter reads: a list of whole numbers, or of words in base64."""
    entry = value.get("list", {key: [each] for key, each in value.items()})
    words: Sequence[str] = entry.get("s", ())
    numbers: Sequence[str] = entry.get("i", ())
    return tuple(base64.b64decode(word).decode() for word in words) or tuple(int(number) for number in numbers)


def main(folder: Path, target: Path) -> None:
    """Writes one model for each size."""
    nodes, weights = read(
        asset_path(folder, "centernet.json").read_bytes(),
        asset_path(folder, "centernet.bin").read_bytes(),
    )
    for size in SIZES:
        (target / f"centernet_{size}.onnx").write_bytes(convert(nodes, weights, size))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
