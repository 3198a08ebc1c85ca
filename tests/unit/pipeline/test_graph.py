"""Which graphs run, in which calls, and what is said of those that cannot?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Invalid
from node.model.video import QueryRequest, in_order
from node.pipeline.graph import Dag, check_graph, graph_of, segments

FORK = {"face_detection": (), "face_alignment": ("face_detection",), "car_detection": ()}


def checked(graph):
    return check_graph(in_order(graph), graph)


def problems(graph):
    with pytest.raises(Invalid) as caught:
        check_graph(tuple(graph), graph)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_a_list_is_a_graph_in_which_each_stage_follows_the_one_before():
    graph = check_graph(("face_detection", "face_alignment"), {})
    assert graph.before == ((), ("face_detection",))
    assert not graph.forks
    assert [call.stages for call in segments(graph, ("edge-1", "edge-1"))] == [("face_detection", "face_alignment")]
    first, second = segments(graph, ("edge-1", "cloud-1"))
    assert (first.wanted, second.before) == ({"faces"}, (0,))


def test_a_graph_is_given_under_the_name_of_the_pipeline():
    request = QueryRequest.model_validate(
        {"node": "e", "source": "s", "pipeline": {"face_alignment": ["face_detection"], "face_detection": []}}
    )
    assert request.pipeline == ("face_detection", "face_alignment")
    assert request.graph["face_alignment"] == ("face_detection",)
    assert QueryRequest.model_validate(request.model_dump()) == request


def test_branches_are_calls_of_their_own_and_chains_on_one_node_one_call():
    graph = checked(FORK)
    assert graph.forks
    calls = segments(graph, ("edge-1",) * 3)
    assert {call.stages for call in calls} == {("face_detection", "face_alignment"), ("car_detection",)}
    assert all(call.before == () for call in calls)
    assert graph.doubled == {
        "bbox": ("face_detection", "car_detection"),
        "prob": ("face_detection", "car_detection"),
        "count_result": ("face_alignment", "car_detection"),
    }


def test_what_planners_are_given_is_a_list_that_knows_its_graph():
    graph = checked(FORK)
    assert Dag.of(graph) == graph.stages
    assert graph_of(Dag.of(graph)) is graph
    assert graph_of(graph.stages).takes == ((), (0,), (1,))
    assert graph_of(list(graph.stages)).takes == ((), (0,), (1,))


def test_the_longest_way_through_a_graph_is_its_time():
    seconds = {"face_detection": 1.0, "face_alignment": 2.0, "car_detection": 2.5}
    assert checked(FORK).longest(seconds) == 3.0
    assert checked(FORK).longest(seconds | {"car_detection": 4.0}) == 4.0
    assert checked(FORK).longest({}) == 0.0
    assert graph_of(tuple(seconds)).longest(seconds) == 5.5


def test_a_circle_is_named_stage_by_stage():
    graph = {"face_detection": ("face_alignment",), "face_alignment": ("face_detection",)}
    ((path, message),) = problems(graph)
    assert path == "pipeline.face_detection"
    assert "face_detection ← face_alignment ← face_detection" in message


def test_unknown_services_and_sources_of_inputs_are_named_with_their_field():
    assert problems({"face_detektion": (), "face_alignment": ("nobody", "nobody")}) == [
        ("pipeline.face_detektion", problems({"face_detektion": ()})[0][1]),
        ("pipeline.face_alignment", "takes from 'nobody', which is no stage here"),
        ("pipeline.face_alignment", "takes from 'nobody', which is no stage here"),
        ("pipeline.face_alignment", "names a stage twice"),
    ]


def test_an_input_that_no_stage_on_the_way_gives_is_missing():
    ((path, message),) = problems({"face_detection": (), "face_alignment": ()})[:1]
    assert path == "pipeline.face_alignment"
    assert "needs bbox, which no stage that it takes from gives" in message


def test_an_input_from_two_branches_at_once_is_ambiguous():
    graph = {**FORK, "face_alignment": ("face_detection", "car_detection")}
    fault = "'face_alignment' gets bbox from face_detection and car_detection: take from one of them"
    assert ("pipeline.face_alignment", fault) in problems(graph)


def test_a_graph_of_other_stages_than_its_pipeline_is_refused():
    with pytest.raises(Invalid, match="cannot run"):
        check_graph(("face_detection",), FORK)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6))
def test_an_order_has_every_stage_once_and_respects_what_can_be(graph):
    order = in_order(graph)
    assert sorted(order) == sorted(graph)
    acyclic = {name: [one for one in before if one in graph and one < name] for name, before in graph.items()}
    places = {name: place for place, name in enumerate(in_order(acyclic))}
    assert all(places[one] < places[name] for name, before in acyclic.items() for one in before)
