"""How is an ONNX file written without the onnx package?

Only what a converter of inference graphs needs: float tensors, nodes with whole-number and string attributes, one operator
set. The same graph gives the same bytes on every machine, so that the hash of a converted model can be pinned.

Source: the protobuf encoding guide (wire types 0 and 2), and the field numbers of ONNX's onnx.proto, IR version 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

IR_VERSION: Final = 8
OPERATOR_SET: Final = 13

Attribute: TypeAlias = int | str | Sequence[int]
_FLOAT: Final = 1  # TensorProto.DataType
_INT, _STRING, _INTS = 2, 3, 7  # AttributeProto.AttributeType


@dataclass(slots=True)
class Graph:
    """A graph under construction. Every node has one output, and the node bears its name."""

    name: str
    _nodes: list[bytes] = field(default_factory=list)
    _constants: dict[str, bytes] = field(default_factory=dict)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def take(self, name: str, shape: Sequence[int]) -> str:
        """Declares a float input of the model."""
        self._inputs.append(_value_info(name, shape))
        return name

    def give(self, name: str, shape: Sequence[int]) -> str:
        """Declares the output of a node a float output of the model."""
        self._outputs.append(_value_info(name, shape))
        return name

    def constant(self, name: str, values: NDArray[np.float32]) -> str:
        """Holds a tensor; naming it again is harmless."""
        self._constants.setdefault(name, _tensor(name, values))
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, attributes: Mapping[str, Attribute] | None = None) -> str:
        """Adds one operation; its inputs must be there already. An empty input name stands for one that is left out."""
        fields = [_text(1, each) for each in inputs] + [_text(2, name), _text(3, name), _text(4, operator)]
        fields += [_piece(5, _attribute(key, value)) for key, value in (attributes or {}).items()]
        self._nodes.append(b"".join(fields))
        return name

    def model(self) -> bytes:
        """The whole file."""
        graph = [_piece(1, node) for node in self._nodes]
        graph += [_text(2, self.name)]
        graph += [_piece(5, tensor) for tensor in self._constants.values()]
        graph += [_piece(11, value) for value in self._inputs] + [_piece(12, value) for value in self._outputs]
        operators = _text(1, "") + _number(2, OPERATOR_SET)
        return _number(1, IR_VERSION) + _text(2, "ecnode") + _piece(7, b"".join(graph)) + _piece(8, operators)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _number(20, _STRING)
    return _text(1, name) + b"".join(_number(8, each) for each in value) + _number(20, _INTS)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(1, dim) for dim in values.shape)
    raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return dims + _number(2, _FLOAT) + _text(8, name) + _piece(9, raw)


def _value_info(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_piece(1, _number(1, dim)) for dim in shape)
    tensor_type = _number(1, _FLOAT) + _piece(2, dims)
    return _text(1, name) + _piece(2, _piece(1, tensor_type))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(number: int, value: int) -> bytes:
    assert value >= 0  # a negative one would need ten bytes; no shape, stride or axis from the front is
    return _varint(number << 3) + _varint(value)


def _piece(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _piece(number, text.encode())
