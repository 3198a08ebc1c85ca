"""What does the door say of services, and what can be called there?"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest


def listed(door: Any) -> dict[str, Any]:
    return {item["name"]: item for item in door.raw("GET", "/api/v1/services").json["items"]}


def test_every_service_is_listed_with_what_it_takes_gives_and_lacks(door: Any) -> None:
    found = listed(door)
    assert found["face_alignment"]["needs"] == ["bbox", "faces"]
    assert found["car_detection"]["ladder"] == [1, 2, 0, 3]
    assert found["helmet_detection"]["reason"] == "there is no model"
    assert found["motion_detection"]["reason"] == "is not measured yet"
    assert found["helmet_detection"]["nodes"] == []


def test_a_service_is_called_with_a_picture_and_tells_its_time(door: Any) -> None:
    image = base64.b64encode(b"\xff\xd8picture").decode()
    body = json.dumps({"image": image, "other": 1}).encode()
    answer = door.raw("POST", "/api/v1/services/face_detection/invoke?model=0", body).json
    assert answer["outputs"]["faces"] == [base64.b64encode(b"\xff\xd8crop").decode()]
    assert (answer["stage_s"], answer["decode_s"], answer["wait_s"]) == (0.02, 0.004, 0.001)
    assert door.services.calls == [("face_detection", {}, {"image": (b"\xff\xd8picture",)})]


def test_a_service_is_measured_beside_what_plans_are_made_with(door: Any) -> None:
    answer = door.raw("POST", "/api/v1/services/face_detection/bench", b"{}").json
    assert (answer["node"], answer["seconds"], answer["objects"]) == ("cloud-1", {"480p": 0.021}, 7)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("mind_reading/invoke", 404, "no service is called 'mind_reading'"),
        ("mind_reading/bench", 404, "no service is called 'mind_reading'"),
        ("face_detection/invoke", 422, "image: is required"),
        ("helmet_detection/bench", 503, "there is no model"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(door: Any, path: str, status: int, words: str) -> None:
    reply = door.raw("POST", f"/api/v1/services/{path}", b"{}")
    assert (reply.status, words in reply.body.decode()) == (status, True), reply.body
