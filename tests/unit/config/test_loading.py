"""Layers, origins, and what is said about a config that is wrong."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from node.config import ConfigProblem, Known, Loaded, RoleName, config_files, load, report
from node.config.loading import ANY_BUILD
from node.errors import ConfigInvalid
from node.model.cluster import Role

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))
KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # the example key of ZeroMQ's CURVE page
OTHER = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W5b!Ni{Lh6"
SEVEN_MISTAKES = """\
schema = 1
[node]
name  = "Edge 1"
roles = ["edge", "clod"]
[transport]
lisen = ["tcp://0.0.0.0:7440"]
heartbeat = "2 seconds"
[edge]
workers = "two"
[edge.sources.lobby]
ur = "rtsp://camera-1/stream1"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "node.toml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return written


def edge(*lines: str) -> str:
    return "\n".join(['node.roles = ["edge"]', *lines])


def faults(
    *files: Path, environment: dict[str, str] | None = None, sets: tuple[str, ...] = (), known: Known = ANY_BUILD
) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(files, environment or {}, sets, known)
    for problem in caught.value.problems:
        assert isinstance(problem, ConfigProblem)
    folders = [f"{file.parent}{os.sep}" for file in files]
    return [str(problem).replace(folders[0] if folders else "\0", "") for problem in caught.value.problems]


def loaded(file: Path | None = None, *, environment: dict[str, str] | None = None, sets: tuple[str, ...] = ()) -> Loaded:
    return load([file] if file else [], environment or {}, sets)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_shipped_config_loads(file: Path) -> None:
    assert load([file], {}, []).config.node.roles


def test_there_are_the_seven_shipped_configs() -> None:
    assert [file.stem for file in CONFIGS] == [
        "all-in-one",
        "cloud",
        "default_local",
        "default_peer",
        "edge",
        "federated",
        "talent",
    ]


def test_the_shipped_cloud_and_edge_work_together_once_the_keys_are_filled_in(write: Write) -> None:
    texts = {file.stem: file.read_text(encoding="utf-8") for file in CONFIGS}
    configs = {}
    for name, key in (("cloud", OTHER), ("edge", KEY)):
        text = texts[name].replace("# [[transport", "[[transport").replace("# join", "join")
        for setting in ("name ", "key ", "roles ", "address "):
            text = text.replace(f"# {setting}", setting)
        rows = [f'key = "{key}"' if row.startswith("key ") else row for row in text.split("\n")]
        configs[name] = loaded(write("\n".join(rows))).config.transport
    assert configs["edge"].join == (configs["edge"].allow[0].address,)
    assert configs["cloud"].allow[0].name == "edge-1"
    assert configs["edge"].allow[0].key == KEY


def test_all_seven_mistakes_are_told_at_once_with_line_path_and_suggestion(write: Write) -> None:
    file = write(SEVEN_MISTAKES, "edge.toml")
    text = '\'2 seconds\' is not a span of time such as "500ms", "2s", "10m", "1h", "14d", or a number of seconds'
    assert faults(file) == [
        "edge.toml line 3: node.name: String should match pattern '^[a-z0-9][a-z0-9-]{0,62}$'      name  = \"Edge 1\"",
        "edge.toml line 4: node.roles.1: Input should be 'cloud', 'edge', 'talent' or 'federated', did you mean 'cloud'?"
        '      roles = ["edge", "clod"]',
        "edge.toml line 6: transport.lisen: unknown setting, did you mean 'listen'?",
        f'edge.toml line 7: transport.heartbeat: {text}      heartbeat = "2 seconds"',
        'edge.toml line 9: edge.workers: Input should be a valid integer      workers = "two"',
        "edge.toml line 10: edge.sources.lobby.url: is required",
        "edge.toml line 11: edge.sources.lobby.ur: unknown setting, did you mean 'url'?",
    ]


def test_the_report_has_the_lines_in_a_column(write: Write) -> None:
    file = write(SEVEN_MISTAKES, "edge.toml")
    with pytest.raises(ConfigInvalid) as caught:
        load([file], {}, [])
    rows = report(caught.value.problems).split("\n")
    assert rows[0] == caught.value.message == f"{file}: 7 problems"
    assert rows[3] == "  line   6  transport.lisen: unknown setting, did you mean 'listen'?"


def test_a_bottomless_file_is_refused(write: Write) -> None:
    for text in ("a = " + "[" * 50 + "]" * 50, "a = " + "{b=" * 5000, "talent.a = " + "[" * 200 + "]" * 200):
        assert "is nested deeper than 16 tables" in faults(write(text))[0]


def test_later_layers_win_and_every_value_knows_where_it_comes_from(write: Write) -> None:
    first = write(
        'schema = 1\n[node]\nname = "one"\nroles = ["edge"]\n[node.labels]\na = "1"\nb = "1"\n[log]\nlevel = "debug"\n',
        "1.toml",
    )
    second = write('[node]\nlabels = { b = "2" }\nname = "two"\n', "2.toml")
    environment = {"ECNODE_NODE__NAME": "three", "ECNODE_HTTP__LISTEN": "127.0.0.1:1", "ECNODE_URL": "http://x", "HOME": "/"}
    found = load([first, second], environment, ["http.listen=127.0.0.1:2", "edge.workers=3"])
    assert found.config.node.name == "three"
    assert found.config.node.labels == {"a": "1", "b": "2"}
    assert found.config.http.listen == ("127.0.0.1:2",)
    assert found.config.edge.workers == 3
    assert {
        path: found.origins[path]
        for path in ("node.name", "node.labels.a", "node.labels.b", "log.level", "http.listen", "http.auth")
    } == {
        "node.name": "environment ECNODE_NODE__NAME",
        "node.labels.a": f"{first} line 6",
        "node.labels.b": f"{second} line 2",
        "log.level": f"{first} line 9",
        "http.listen": "--set",
        "http.auth": "default",
    }


def test_the_origins_name_every_setting_once(write: Write) -> None:
    found = loaded(write(edge("[edge.sources.a]", 'url = "x"')))
    assert list(found.origins) == [".".join(map(str, path)) for path, _ in found.settings()]


def test_a_variable_may_hold_json_or_plain_text() -> None:
    environment = {"ECNODE_NODE__ROLES": '["cloud", "edge"]', "ECNODE_NODE__NAME": "12", "ECNODE_EDGE__WORKERS": "2"}
    config = loaded(environment=environment).config
    assert (config.node.roles, config.node.name, config.edge.workers) == (("cloud", "edge"), "12", 2)


def test_a_single_text_counts_as_a_list_of_one() -> None:
    assert loaded(sets=("node.roles=edge",)).config.node.roles == ("edge",)


def test_a_misspelt_variable_is_named() -> None:
    problems = faults(environment={"ECNODE_NODE__ROLES": "edge", "ECNODE_HTTP__LISEN": "x"})
    assert problems == ["environment ECNODE_HTTP__LISEN: http.lisen: unknown setting, did you mean 'listen'?"]


def test_a_set_without_a_value_is_named() -> None:
    assert faults(sets=("http.listen",)) == ["--set: 'http.listen' is not table.key=value"]


def test_a_text_may_stand_in_a_file_or_in_a_variable_and_is_never_shown(write: Write, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden-name\n", encoding="utf-8")
    file = write(edge(f'node.name = "@file:{secret}"', 'node.labels.zone = "@env:ZONE"'))
    found = load([file], {"ZONE": "north"}, [])
    assert (found.config.node.name, found.config.node.labels["zone"]) == ("hidden-name", "north")
    assert "hidden-name" not in str(found.shown())
    assert found.references == {"node.name": f"@file:{secret}", "node.labels.zone": "@env:ZONE"}


def test_a_wrong_value_behind_a_reference_is_not_told(write: Write) -> None:
    problems = faults(write(edge('transport.heartbeat = "@env:SECRET"')), environment={"SECRET": "swordfish"})
    assert len(problems) == 1
    assert "swordfish" not in problems[0]
    assert "line 2: transport.heartbeat" in problems[0]


def test_an_empty_text_behind_a_reference_is_told_plainly(write: Write) -> None:
    problems = faults(write(edge('transport.heartbeat = "@env:EMPTY"')), environment={"EMPTY": ""})
    assert problems[0].startswith("node.toml line 2: transport.heartbeat: '' is not a span of time such as")


def test_references_to_nothing_are_told_together(write: Write) -> None:
    file = write(
        edge('node.name = "@env:NOBODY"', 'storage.database = "@file:relative"', 'log.level = "@file:/does/not/exist"')
    )
    assert [problem.split("      ")[0] for problem in faults(file)] == [
        "node.toml line 2: node.name: the environment has no variable 'NOBODY'",
        "node.toml line 3: storage.database: '@file:relative' must name an absolute path",
        "node.toml line 4: log.level: '/does/not/exist' cannot be read: No such file or directory",
    ]


def test_a_password_in_a_url_is_hidden_in_problems(write: Write) -> None:
    problems = faults(write(edge('storage.database = "postgres://me:swordfish@db/x"')))
    assert len(problems) == 1
    assert "swordfish" not in problems[0]
    assert "'postgres' is not built into this release" in problems[0]


def test_a_password_in_a_source_is_hidden_when_shown(write: Write) -> None:
    found = loaded(write(edge('edge.sources.a.url = "rtsp://me:swordfish@camera/1"')))
    assert found.config.edge.sources["a"].url == "rtsp://me:swordfish@camera/1"
    assert "swordfish" not in str(found.shown())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nb = edge-1\n", "line 2: column 5: invalid value; put text in quotes"),
        (
            "[node\nname = 1",
            "line 1: column 6: expected ']' at the end of a table declaration; a table's name ends with a bracket",
        ),
        ("name 1", "line 1: column 6: expected '=' after a key"),
        ('roles = ["edge"\n', "line 1: end of the file: unclosed array; the list misses its closing bracket"),
        ("a = 1\nb = 2\na = 3\n", "line 3: a: is given twice, first on line 1; keep one of them"),
        ("[a]\nx = 1\n[b]\n[a]\n", "line 4: a: is given twice, first on line 1; keep one of them"),
        ('a = """\nx\n"""\na = """\ny\n"""\n', "line 4: a: is given twice, first on line 1"),
        ("a = { b = 1, b = 2 }\n", "line 1: a.b: is given twice, first on line 1"),
    ],
)
def test_a_syntax_error_has_its_line_and_the_next_step(write: Write, text: str, told: str) -> None:
    assert told in faults(write(text))[0]


def test_a_file_that_is_not_there_is_told_with_the_command_that_writes_one(tmp_path: Path) -> None:
    assert faults(tmp_path / "no.toml") == ["no.toml: there is no such file; `ecnode init --out no.toml` writes one"]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"a = '\xff'")
    assert faults(tmp_path / "node.toml") == ["node.toml: byte 5 is not UTF-8 text; save the file as UTF-8"]


def test_a_huge_file_is_refused_unread(write: Write) -> None:
    assert "is larger than 1048576 bytes" in faults(write("#" * 2**20 + "\n"))[0]


def test_no_config_at_all_names_the_command_that_writes_one() -> None:
    (fault,) = faults()
    assert "`ecnode init` writes one" in fault


def test_the_routes_that_run_code_cannot_be_opened_to_callers_without_a_token() -> None:
    assert "needs a token always" in faults(sets=("node.roles=edge", 'http.compat_open=["tasks"]'))[0]


def test_a_newer_format_is_refused_with_the_way_out() -> None:
    assert "install a newer ecnode" in faults(sets=("node.roles=edge", "schema=2"))[0]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("http.dashboard=true", "leave it false"),
        ('http.tls={"cert": "a", "key": "b"}', "put a proxy"),
        ("storage.objects=s3://bucket", "name a folder below data_dir"),
        ('storage.keep={"bundles": "14d"}', "no bundle is deleted"),
        ("cloud.max_tasks=65", "tasks.at_once"),
        ("edge.limits.cpu=150%", "service unit"),
        ("services.face_detection.device=cuda", "'cpu' is"),
        ("services.face_detection.batch=4", "one by one"),
    ],
)
def test_what_is_not_built_is_refused_unless_it_is_the_default(setting: str, told: str) -> None:
    problems = faults(sets=("node.roles=edge", setting))
    assert len(problems) == 1
    assert "is not built into this release" in problems[0]
    assert told in problems[0]


def test_a_planned_setting_is_accepted_with_its_default() -> None:
    loaded(sets=("node.roles=edge", "cloud.lease=15s", "http.dashboard=false"))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("node.rolls=1", "did you mean 'roles'"),
        ("node.listen=1", "it belongs to [transport] or [http]"),
        ("edge.services.face_detection.replicas=1", "services stand at the top"),
        ("log.wat=1", "known here: level, format"),
        ("node.labels.gpu=false", ""),
    ],
)
def test_an_unknown_setting_is_refused_with_advice(setting: str, told: str) -> None:
    if not told:  # JSON where text is wanted is read as the text it is
        assert loaded(sets=("node.roles=edge", setting)).config.node.labels == {"gpu": "false"}
        return
    assert told in faults(sets=("node.roles=edge", setting))[0]


def test_a_truth_value_in_a_file_is_no_label(write: Write) -> None:
    assert 'write "false"' in faults(write(edge("node.labels.gpu = false")))[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["http.listen=0.0.0.0:7480", "http.auth=loopback"], "http.listen: '0.0.0.0:7480' can be reached from outside"),
        (["http.listen=[::]:7480", "http.auth=loopback"], "can be reached from outside"),
        (["http.auth=none"], "http.auth: 'none' is for `ecnode dev`"),
        (["transport.security=null", "transport.listen=tcp://0.0.0.0:1"], "transport.security: 'null' is for loopback"),
        (["transport.join=tcp://10.0.0.5:7440"], "transport.join.0: no entry of [[transport.allow]] has the address"),
        (["transport.suspect_after=1s"], "transport.suspect_after: must be longer than heartbeat (2 s)"),
        (["transport.dead_after=6s"], "transport.dead_after: must be longer than suspect_after (6 s)"),
        (["transport.listen=10.0.0.5:7440"], "is not an address of a peer such as"),
        (["transport.listen=tcp://10.0.0.5:70000"], "a port is at most 65535"),
        (["transport.listen=tcp://10.0.0.5:65535"], "pictures take the next one"),
        (["transport.advertise=tcp://0.0.0.0:7440"], "cannot be connected to"),
        (["http.listen=http://127.0.0.1:7480"], "leave 'http://' away"),
        (["node.data_dir="], "a path cannot be empty"),
        (["node.name=../x"], "should match pattern"),
        (['node.roles=["edge","edge"]'], "'edge' stands in the list twice"),
        (['transport.allow=[{"name":"a","key":"x","roles":["edge"]}]'], "transport.allow.0.key: is not a public key"),
        (
            ['edge.sources={"a":{"url":"x","id":1},"b":{"url":"y","id":1}}'],
            "edge.sources.b.id: 1 is the id of source 'a' already",
        ),
        (['edge.sources={"A b":{"url":"x"}}'], 'edge.sources."A b": String should match pattern'),
        (["services.face_detektion.replicas=1"], "unknown service, did you mean 'face_detection'?"),
        (["cloud.scheduler=ewna"], "did you mean 'ewma'?"),
    ],
)
def test_settings_that_are_unsafe_or_contradict_each_other_are_refused(settings: list[str], told: str) -> None:
    known = Known(services=["face_detection"], schedulers=["ewma", "robust"])
    problems = faults(sets=("node.roles=edge", *settings), known=known)
    assert len(problems) == 1
    assert told in problems[0]


def test_null_security_does_not_slip_through_the_default_listen_of_a_cloud() -> None:
    assert "role cloud listens on tcp://0.0.0.0:7440" in faults(sets=("node.roles=cloud", 'transport.security="null"'))[0]
    config = loaded(sets=("node.roles=cloud", 'transport.security="null"', "transport.listen=tcp://127.0.0.1:*")).config
    assert config.transport.security == "null"


def test_two_entries_cannot_share_a_name_or_a_key(write: Write) -> None:
    entry = f'[[transport.allow]]\nname = "a"\nkey = "{KEY}"\nroles = ["edge"]\n'
    assert faults(write('node.roles = ["cloud"]\n' + entry * 2)) == [
        "node.toml line 7: transport.allow.1.name: 'a' is the name of entry 0 already",
        "node.toml line 8: transport.allow.1.key: is the key of 'a' already",
    ]


def test_a_faulty_table_does_not_hide_a_contradiction_in_another() -> None:
    problems = faults(sets=("node.roles=clod", "transport.dead_after=6s", "http.auth=none"))
    assert len(problems) == 3


def test_no_authentication_is_for_dev_only() -> None:
    assert load([], {}, ["node.roles=edge", "http.auth=none"], Known(dev=True)).config.http.auth == "none"


def test_only_a_cloud_listens_by_default() -> None:
    assert loaded(sets=("node.roles=cloud",)).config.transport.listen == ("tcp://0.0.0.0:7440",)
    assert loaded(sets=("node.roles=edge",)).config.transport.listen == ()
    assert loaded(sets=("node.roles=cloud", "transport.listen=[]")).config.transport.listen == ()


def test_sources_without_a_number_get_the_lowest_free_one_in_file_order(write: Write) -> None:
    file = write(
        edge("[edge.sources.z]", 'url = "1"', "[edge.sources.b]", 'url = "2"', "id = 0", "[edge.sources.a]", 'url = "3"')
    )
    assert {name: source.id for name, source in loaded(file).config.edge.sources.items()} == {"z": 1, "b": 0, "a": 2}


def test_paths_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = loaded(sets=("node.roles=edge", "node.data_dir=~/x/../y")).config
    assert config.node.data_dir == tmp_path / "y"
    assert config.node.assets_dir == tmp_path / ".cache/ecnode/assets"


def test_a_door_without_tls_is_warned_of() -> None:
    warnings = [str(problem) for problem in loaded(sets=("node.roles=cloud", "http.listen=10.0.0.5:7480")).warnings]
    assert "carries the token unencrypted" in warnings[0]
    assert "'10.0.0.5' is not in the list" in warnings[1]


def test_a_table_of_a_role_that_the_node_does_not_have_is_warned_of() -> None:
    warnings = [problem.message for problem in loaded(sets=("node.roles=cloud", "edge.workers=1")).warnings]
    assert warnings == ["has no effect: the node does not have the role 'edge'"]


def test_federated_client_is_another_name_of_federated() -> None:
    assert loaded(sets=("node.roles=federated-client",)).config.node.roles == ("federated",)


def test_the_roles_here_are_those_of_the_model() -> None:
    assert set(get_args(RoleName)) == set(Role)


def test_the_config_is_looked_for_in_the_documented_order(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    (home / ".config/ecnode").mkdir(parents=True)
    here.mkdir()
    own, local, named = home / ".config/ecnode/node.toml", here / "ecnode.toml", tmp_path / "named.toml"
    environment = {"HOME": str(home)}
    assert config_files([], environment, here) == ()
    own.touch()
    assert config_files([], environment, here) == (own,)
    local.touch()
    assert config_files([], environment, here) == (local,)
    environment["ECNODE_CONFIG"] = str(named)
    assert config_files([], environment, here) == (named,)
    assert config_files([own, local], environment, here) == (own, local)


def test_loopback_alone_opens_the_original_routes_by_default() -> None:
    outside = ("node.roles=edge", "http.listen=0.0.0.0:7480")
    assert loaded(sets=("node.roles=edge",)).config.http.compat_open == ("video",)
    assert loaded(sets=outside).config.http.compat_open == ()
    assert loaded(sets=(*outside, 'http.compat_open=["video"]')).config.http.compat_open == ("video",)
