"""The converter: padding, weights, and models that are the same wherever they are made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.assets import load_manifest
from node.errors import Invalid
from node.pipeline.video.centernet import SIZES, convert, read, same_padding


def document(weights: list[dict[str, Any]], nodes: Sequence[dict[str, Any]] = ()) -> bytes:
    return json.dumps({"modelTopology": {"node": list(nodes)}, "weightsManifest": [{"weights": weights}]}).encode()


@given(st.integers(1, 600), st.integers(1, 7), st.integers(1, 3))
def test_same_padding_lets_the_last_window_end_at_the_border(side: int, kernel: int, stride: int) -> None:
    begin, end, outcome = same_padding(side, kernel, stride)
    assert (outcome - 1) * stride < side <= outcome * stride
    assert 0 <= end - begin <= 1
    padded = side + begin + end
    assert (padded - kernel) // stride + 1 == outcome
    assert begin + end == 0 or padded == (outcome - 1) * stride + kernel


def test_half_floats_are_read_as_floats_in_their_order() -> None:
    entries: list[dict[str, Any]] = [
        {"name": "a", "shape": [2, 1], "dtype": "float32", "quantization": {"dtype": "float16", "original_dtype": "float32"}},
        {"name": "b", "shape": [], "dtype": "int32"},
    ]
    binary = np.array([0.5, -2.0], "<f2").tobytes() + np.array([7], "<i4").tobytes()
    _, weights = read(document(entries), binary)
    assert weights["a"].tolist() == [[0.5], [-2.0]] and weights["a"].dtype == np.float32
    assert weights["b"].tolist() == 7.0


@pytest.mark.parametrize(("binary", "told"), [(b"1234567", "end before"), (b"123456789", "1 bytes follow")])
def test_weights_that_do_not_fit_the_document_are_refused(binary: bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        read(document([{"name": "a", "shape": [2], "dtype": "float32"}]), binary)


def test_an_operation_that_the_converter_does_not_know_is_named() -> None:
    nodes, weights = read(document([], [{"name": "tower_0/keypoints", "op": "Softmax", "input": ["tower_0/images"]}]), b"")
    with pytest.raises(Invalid, match="knows no Softmax, which 'tower_0/keypoints' is"):
        convert(nodes, weights, 64)


def test_a_convolution_with_other_padding_is_refused() -> None:
    attributes = {
        "padding": {"s": base64.b64encode(b"VALID").decode()},
        "strides": {"list": {"i": ["1", "1", "1", "1"]}},
        "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
    }
    convolution = {"name": "tower_0/keypoints", "op": "Conv2D", "input": ["tower_0/images", "w"], "attr": attributes}
    entry = {"name": "w", "shape": [3, 3, 1, 1], "dtype": "float32"}
    nodes, weights = read(document([entry], [convolution]), bytes(36))
    with pytest.raises(Invalid, match="padding SAME"):
        convert(nodes, weights, 64)


def test_the_models_are_made_again_byte_by_byte_and_leave_no_padding_to_opencv(centernet: Path) -> None:
    nodes, weights = read((centernet / "centernet.json").read_bytes(), (centernet / "centernet.bin").read_bytes())
    (derived,) = (each for each in load_manifest().derived if each.name == "centernet")
    assert len(derived.sha256) == len(SIZES)
    for size in SIZES:
        model = convert(nodes, weights, size)
        assert hashlib.sha256(model).hexdigest() == derived.sha256[f"centernet_{size}.onnx"]
        assert b"auto_pad" not in model and b"pads" in model
