"""Files that OpenCV's reader takes, and computes as NumPy does."""

from __future__ import annotations

import numpy as np
import pytest

from node.pipeline.video.onnx import Graph
from node.pipeline.video.opencv import cv2

PADS = (0, 0, 1, 1)  # more below and to the right than above and to the left


def convolved(picture: np.ndarray, kernel: np.ndarray, bias: float, stride: int) -> np.ndarray:
    top, left, bottom, right = PADS
    padded = np.pad(picture, ((top, bottom), (left, right)))
    side = (padded.shape[0] - kernel.shape[0]) // stride + 1
    windows = [[padded[r * stride :, c * stride :][:3, :3] for c in range(side)] for r in range(side)]
    return np.array([[(window * kernel).sum() + bias for window in row] for row in windows])


def test_a_graph_is_read_by_opencv_and_computes_what_it_says() -> None:
    rng = np.random.default_rng(3)
    kernel, picture = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=(8, 8)).astype(np.float32)
    graph = Graph("toy")
    given = graph.take("given", (1, 1, 8, 8))
    weights = [graph.constant("kernel", kernel[None, None]), graph.constant("bias", np.array([0.25], np.float32))]
    attributes = {"kernel_shape": (3, 3), "pads": PADS, "strides": (2, 2), "group": 1}
    graph.node("Conv", [given, *weights], "conv", attributes)
    graph.node("Relu", ["conv"], "out")
    graph.give("out", (1, 1, 4, 4))
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph.model(), np.uint8))
    net.setInput(picture[None, None])
    expected = np.maximum(convolved(picture, kernel, 0.25, 2), 0)
    assert np.asarray(net.forward("out"))[0, 0] == pytest.approx(expected, abs=1e-5)


def test_the_same_graph_gives_the_same_bytes_and_a_constant_stands_there_once() -> None:
    def build() -> bytes:
        graph = Graph("toy")
        given = graph.take("given", (1, 3, 300, 300))
        bound = [graph.constant("zero", np.array(0, np.float32)), graph.constant("zero", np.array(0, np.float32))]
        graph.node("Clip", [given, *bound], "out")
        graph.give("out", (1, 3, 300, 300))
        return graph.model()

    assert build() == build()
    assert build().count(b"\x22\x04Clip") == 1  # field 4 of a node, four bytes long
    assert build().count(b"\x42\x04zero") == 1  # field 8 of a tensor


def test_long_numbers_are_written_in_groups_of_seven_bits() -> None:
    graph = Graph("toy")
    graph.take("given", (300,))
    assert b"\x08\xac\x02" in graph.model()  # the protobuf guide's own example: 300 in field 1
