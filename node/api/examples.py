"""What does a good body look like? One example for each, shown in the description of the API and tried by its test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from node.api.compat.bodies import (
    ChangeConstraint,
    CreatePlot,
    Join,
    NodeAddress,
    SubmitJob,
    SubmitQuery,
    SyncResult,
    UpdatePlan,
)
from node.api.compat.efls_bodies import (
    InstanceUpdate,
    LogIn,
    NewProject,
    NewProjectTask,
    NewResource,
    NewUser,
    Operation,
    PeerInstance,
    PeerProject,
    PeerProjectConfig,
    PeerStatus,
    PeerTask,
    ProjectTaskUpdate,
    ProjectUpdate,
    ResourceUpdate,
    UserUpdate,
)
from node.api.compat.pai import CreateTask
from node.api.compat.tasks import OriginalGit, OriginalTask
from node.api.inputs import ServiceInput
from node.model.access import TokenRequest
from node.model.document import BlobPull, Document, PlanChoice
from node.model.federated import DatasetRequest, Refusal, SessionRequest
from node.model.member import Approval, Invitation, JoinTokenRequest, KeyChange, NodeChange
from node.model.plot import PlotChange, PlotRequest
from node.model.project import (
    InstanceRequest,
    ProjectChange,
    ProjectRequest,
    ProjectTaskChange,
    ProjectTaskRequest,
    ResourceRequest,
)
from node.model.source import SourceRequest
from node.model.task import TaskChange, TaskRequest, TaskSpec
from node.model.value import Value
from node.model.video import Constraint, QueryRequest

_SUBMITTED: Final[Document] = {
    "node_addr": "127.0.0.1:7480",
    "video_id": 0,
    "pipeline": ["face_detection", "face_alignment"],
    "user_constraint": {"delay": 0.3, "accuracy": 0.85},
}

_ID: Final = "0f7a3c5b9d1e4f60a2b4c6d8e0f1a3b5"
_AGREED: Final = "a word that both sides know"
_PHRASE: Final = "correct horse battery staple"
_NEXT_PHRASE: Final = "another horse entirely"
_CONSOLE: Final = "http://bank-b.example:7480/compat/efls"
_ALIGN: Final[Document] = {"role": "feature_client", "dataset": "cells", "output": "aligned"}

EXAMPLES: Final[Mapping[type[Value], Document]] = {
    QueryRequest: {
        "name": "head count",
        "node": "edge-1",
        "source": "lobby",
        "pipeline": ["face_detection", "face_alignment"],
        "constraint": {"delay": 0.3, "accuracy": 0.85},
    },
    TaskRequest: {"name": "hello", "script": "print('hello')", "limits": {"wall_s": 60.0}},
    TaskSpec: {"script": "print('hello again')"},
    TaskChange: {"description": "trains on the digits of May"},
    Constraint: {"delay": 0.5},
    PlanChoice: {
        "video_conf": {"fps": 5, "resolution": "480p"},
        "flow_mapping": {
            "face_detection": {"node": "edge-1", "role": "host"},
            "face_alignment": {"node": "cloud-1", "role": "cloud"},
        },
    },
    PlotRequest: {"name": "first plot", "ksize": 32, "labels": {"site": "hq"}, "dest_path": "/farm/plots"},
    PlotChange: {"name": "second plot"},
    CreatePlot: {
        "task_id": "7d9f1c8e0b2a4d5e8f3a6b1c2d4e5f60",
        "ksize": 32,
        "threads": 4,
        "buffer": 3390,
        "dest_type": "local",
    },
    SubmitQuery: _SUBMITTED,
    SubmitJob: _SUBMITTED,
    ChangeConstraint: {"query_id": "GLOBAL_ID_1", "user_constraint": {"delay": 0.5}},
    UpdatePlan: {
        "job_uid": "GLOBAL_ID_1",
        "video_conf": {"encoder": "JPEG", "fps": 5, "resolution": "720p"},
        "flow_mapping": {
            "face_detection": {"model_id": 0, "node_role": "host"},
            "face_alignment": {"model_id": 0, "node_role": "cloud"},
        },
    },
    SyncResult: {"job_uid": "GLOBAL_ID_1", "job_result": {"appended_result": {"n_loop": 1}}},
    Join: {"node_port": 7480, "node_ip": "127.0.0.1", "video_id": 0, "video_type": "people indoor"},
    NodeAddress: {"job_uid": "GLOBAL_ID_1", "node_addr": "127.0.0.1:7480"},
    ServiceInput: {"image": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//2Q=="},
    SourceRequest: {"name": "yard", "url": "rtsp://camera-2/stream1", "kind": "people outdoor", "fps": 15.0, "gate": 0.01},
    BlobPull: {"sources": ["edge-1"], "wait": 5.0},
    TokenRequest: {"label": "dashboard on the wall", "scope": "read", "ttl": 3600.0},
    JoinTokenRequest: {"roles": ["edge"], "ttl": 3600.0, "label": "the edge in the lobby"},
    OriginalGit: {
        "name": "digits",
        "url": "https://git.example/digits.git",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "file": "train.py",
    },
    OriginalTask: {"name": "digits", "file": "train.py", "union_train": "0", "edge_nodes": "edge-1"},
    CreateTask: {
        "task_name": "test-datagen",
        "clients": [
            {
                "role": "main_client",
                "addr": "127.0.0.1",
                "http_port": 8377,
                "client_config": {"client_type": "alignment_main", "computation_port": 8378},
            },
            {
                "role": "feature_client",
                "addr": "127.0.0.1",
                "http_port": 8084,
                "client_config": {
                    "client_type": "alignment_data",
                    "computation_port": 8085,
                    "raw_data_path": "Splitted_Indexed_Data/credit_default_data1.csv",
                    "out_data_path": "test-f1",
                    "columns": ["X1", "X2"],
                },
            },
            {
                "role": "label_client",
                "addr": "127.0.0.1",
                "http_port": 8884,
                "client_config": {
                    "client_type": "alignment_data",
                    "computation_port": 18885,
                    "raw_data_path": "Splitted_Indexed_Data/credit_default_label.csv",
                    "out_data_path": "test-l",
                },
            },
        ],
    },
    DatasetRequest: {"name": "credit-a", "path": "credit_a.csv", "id": "id"},
    Refusal: {"reason": "no contract with bank-b yet"},
    SessionRequest: {
        "name": "credit",
        "parties": [
            {"name": "main", "role": "main_client", "node": "party-1"},
            {"name": "producer", "role": "crypto_producer", "node": "party-2"},
            {"name": "f1", "role": "feature_client", "node": "party-3", "dataset": "credit-a"},
            {"name": "label", "role": "label_client", "node": "party-4", "dataset": "credit-b", "label": "bad"},
        ],
        "alignment": {"min_intersection": 1000},
        "training": {"steps": 400, "batch_size": 256, "learning_rate": 0.3, "test_every": 50},
    },
    ProjectRequest: {"name": "cells", "peer_url": _CONSOLE, "config": {"producer": "third"}},
    ProjectChange: {"config": {"producer": "third"}},
    ProjectTaskRequest: {"name": "align", "kind": "sample", "token": _AGREED, "config": _ALIGN},
    ProjectTaskChange: {"config": _ALIGN},
    InstanceRequest: {"task": "align"},
    ResourceRequest: {"name": "script", "uri": "ecnode://objects/train.py"},
    PeerProject: {"peer_id": _ID, "peer_url": _CONSOLE, "peer_config": '{"node": "bank-b"}'},
    PeerProjectConfig: {"peer_config": '{"producer": "third"}'},
    PeerTask: {"token": _AGREED, "version": "20261201093000", "task_root": True},
    PeerInstance: {"task_peer_id": _ID},
    PeerStatus: {"status": 3},
    NewProject: {"name": "cells", "peer_url": _CONSOLE, "config": {"producer": "third"}},
    ProjectUpdate: {"config": {"producer": "third"}, "need_sync": True},
    NewProjectTask: {
        "project_id": _ID,
        "name": "align",
        "type": 0,
        "task_root": True,
        "token": _AGREED,
        "config": _ALIGN,
    },
    ProjectTaskUpdate: {"config": _ALIGN},
    InstanceUpdate: {"comment": "the run of May"},
    Operation: {"operation": 0},
    NewResource: {"task_intra_id": _ID, "name": "script", "uri": "ecnode://objects/train.py"},
    ResourceUpdate: {"comment": "the script of May"},
    NewUser: {"name": "ada", "password": _PHRASE, "role": 2},
    UserUpdate: {"origin_password": _PHRASE, "password": _NEXT_PHRASE},
    LogIn: {"name": "ada", "password": _PHRASE},
    KeyChange: {"switch": False},
    NodeChange: {"drained": True},
    Approval: {"name": "edge-1", "roles": ["edge"]},
    Invitation: {"sessions": ["s-01jd00000000000000000000ab"]},
}
