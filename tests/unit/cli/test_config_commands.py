"""The commands init, check and config, as a user runs them."""

import json
import os
import re
import socket
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node import assets
from node.cli.config import check, config, init
from node.cli.preflight import preflight
from node.clock import ManualClock, SystemClock
from node.config import load
from node.transport.keys import load_or_create

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in [name for name in os.environ if name.startswith("ECNODE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def settings(folder: Path, *lines: str, role: str = "cloud", http: str = "127.0.0.1:0") -> Path:
    file = folder / "node.toml"
    rows = [
        f'node.roles = ["{role}"]',
        f'node.data_dir = "{folder}/data"',
        f'http.listen = "{http}"',
        'transport.listen = ["tcp://127.0.0.1:*"]',
    ]
    file.write_text("\n".join([*rows, *lines]), encoding="utf-8")
    return file


def findings(result: Result) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in json.loads(result.stdout)["findings"]:
        found.setdefault(f"{row['level']} {row['check']}", []).append(row["text"])
    return found


@pytest.mark.parametrize(
    "roles", [["cloud"], ["edge"], ["talent"], ["federated"], ["cloud", "edge"], ["edge", "talent", "federated"]]
)
def test_init_writes_a_valid_config_and_a_private_key(runner: CliRunner, tmp_path: Path, roles: list[str]) -> None:
    result = runner.invoke(init, [word for role in roles for word in ("--role", role)])
    assert result.exit_code == 0, result.output
    key = tmp_path / ".local/share/ecnode/identity.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert load_or_create(key).public in result.stdout
    assert load_or_create(key).fingerprint in result.stdout
    assert "ecnode up -c ecnode.toml" in result.stderr
    assert load([tmp_path / "ecnode.toml"], {}, []).config.node.roles == tuple(roles)


@pytest.mark.parametrize("role", ["cloud", "edge"])
def test_the_examples_in_the_written_config_are_valid_too(runner: CliRunner, tmp_path: Path, role: str) -> None:
    runner.invoke(init, ["--role", role])
    file = tmp_path / "ecnode.toml"
    text = re.sub(r"(?m)^# (?=\[|\w+ *= )", "", file.read_text(encoding="utf-8")).replace(
        "the 40 characters of its public key", KEY
    )
    file.write_text(text, encoding="utf-8")
    assert load([file], {}, []).config.transport.allow[0].key == KEY


def test_init_does_not_replace_a_file_unless_told(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "ecnode.toml").write_text("mine", encoding="utf-8")
    refused = runner.invoke(init)
    assert refused.exit_code == 7
    assert "--force" in refused.stderr
    assert (tmp_path / "ecnode.toml").read_text(encoding="utf-8") == "mine"
    assert runner.invoke(init, ["--force"]).exit_code == 0


def test_init_keeps_the_key_that_is_there(runner: CliRunner) -> None:
    first, second = runner.invoke(init).stdout, runner.invoke(init, ["--force"]).stdout
    assert first == second


def test_init_refuses_a_bad_name_and_leaves_nothing_behind(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(init, ["--name", 'a" \n'])
    assert result.exit_code == 3
    assert result.stderr.startswith("--name ")
    assert not (tmp_path / "ecnode.toml").exists()


def test_check_of_an_invalid_config_names_the_line_and_ends_with_3(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text('[node]\nroles = ["edge"]\n[transport]\nlisen = []\n', encoding="utf-8")
    result = runner.invoke(check, ["-c", "edge.toml"])
    assert result.exit_code == 3
    assert result.stdout == "✗ config   edge.toml line 4: transport.lisen: unknown setting, did you mean 'listen'?\n"


def test_without_any_config_the_command_that_writes_one_is_named(runner: CliRunner) -> None:
    for command, words in ((check, []), (config, ["show"]), (config, ["validate"])):
        result = runner.invoke(command, words)
        assert result.exit_code == 3
        assert "there is no ./ecnode.toml" in result.output
        assert "`ecnode init` writes one" in result.output


def test_check_of_an_unknown_scheduler_ends_with_3(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(check, ["-c", str(settings(tmp_path, "cloud.scheduler = 'ewna'"))])
    assert result.exit_code == 3
    assert "no scheduler 'ewna'" in result.stdout


def test_check_names_who_holds_a_port_and_ends_with_1(runner: CliRunner, tmp_path: Path, listener: int) -> None:
    result = runner.invoke(check, ["-c", str(settings(tmp_path, http=f"127.0.0.1:{listener}")), "--json"])
    assert result.exit_code == 1
    assert f"(pid {os.getpid()})" in findings(result)["fail port"][0]
    assert findings(result)["fail port"][0].startswith(f"{listener} is held by ")


def test_check_with_warnings_only_ends_with_0(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(check, ["-c", str(settings(tmp_path)), "--json"])
    assert result.exit_code == 0, result.stdout
    assert list(findings(result)) == ["warn identity", "ok disk", "ok clock", "warn assets"]


def test_check_refuses_a_key_that_others_can_read(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(tmp_path)
    (tmp_path / "data").mkdir()
    identity = load_or_create(tmp_path / "data/identity.key")
    assert f"✓ identity {identity.fingerprint}" in runner.invoke(check, ["-c", str(file)]).stdout
    (tmp_path / "data/identity.key").chmod(0o644)
    result = runner.invoke(check, ["-c", str(file)])
    assert result.exit_code == 1
    assert "has mode 0644" in result.stdout
    assert "chmod 600" in result.stdout


def test_check_of_an_edge_names_missing_assets_and_files(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(
        tmp_path,
        "edge.sources.road.url = 'no.mp4'",
        "edge.sources.cam.url = '97'",
        "edge.sources.b.url = 'file:///no%20file'",
        role="edge",
    )
    found = findings(runner.invoke(check, ["-c", str(file), "--json"]))
    assert found["fail source"] == ["road: there is no no.mp4", "cam: there is no /dev/video97", "b: there is no /no file"]
    assert "ecnode assets fetch" in found["fail assets"][0]
    assert all(name in found["fail assets"][0] for name in assets.missing(tmp_path))


def test_check_dials_the_peers_and_tells_the_time_it_took(runner: CliRunner, tmp_path: Path, listener: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = closed.getsockname()[1]
        entries = [
            f'[[transport.allow]]\nname = "{name}"\nkey = "{key}"\nroles = ["cloud"]\naddress = "tcp://127.0.0.1:{port}"'
            for name, key, port in (("up", KEY, listener), ("down", KEY[5:] + KEY[:5], dead))
        ]
        join = f'transport.join = ["tcp://127.0.0.1:{listener}", "tcp://127.0.0.1:{dead}"]'
        file = tmp_path / "node.toml"
        file.write_text("\n".join(['node.roles = ["edge"]', join, *entries]), encoding="utf-8")
        result = runner.invoke(check, ["-c", str(file), "--set", "http.listen=127.0.0.1:0", "--json"])
    found = findings(result)
    assert re.fullmatch(r"[0-9.]+ ms", found["ok up"][0])
    assert found["fail peer"] == [f"no answer from down at tcp://127.0.0.1:{dead}: Connection refused"]


def test_check_notices_a_clock_that_was_never_set(tmp_path: Path) -> None:
    file = settings(tmp_path)
    loaded = load([file], {}, []).config
    levels = {
        clock: {each.level for each in preflight(loaded, [file], clock) if each.check == "clock"}
        for clock in (ManualClock(), SystemClock())
    }
    assert list(levels.values()) == [{"fail"}, {"ok"}]


def test_check_names_a_data_folder_that_cannot_be_made(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    result = runner.invoke(check, ["-c", str(settings(tmp_path))])
    assert "node.data_dir" in result.stdout
    assert result.exit_code == 1


def test_config_show_tells_values_and_origins(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(tmp_path, 'transport.heartbeat = "1500ms"')
    result = runner.invoke(config, ["show", "-c", str(file), "--origin", "--set", "node.labels.a=b"])
    rows = {row.split(" = ")[0]: re.sub(" +# ", " # ", row) for row in result.stdout.splitlines()}
    assert rows["transport.heartbeat"] == f'transport.heartbeat = "1500ms" # {file} line 5'
    assert rows["node.labels.a"] == 'node.labels.a = "b" # --set'
    assert rows["transport.max_message"] == 'transport.max_message = "8MiB" # default'


def test_what_config_show_prints_is_a_config_again(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(tmp_path, 'node.labels."a.b" = "c"', role="edge")
    text = runner.invoke(config, ["show", "-c", str(file)]).stdout
    (tmp_path / "again.toml").write_text(text, encoding="utf-8")
    assert load([tmp_path / "again.toml"], {}, []).config == load([file], {}, []).config


def test_config_show_never_prints_a_secret(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(tmp_path, 'edge.sources.a.url = "rtsp://me:swordfish@cam/1"', 'node.labels.x = "@env:SECRET"', role="edge")
    for arguments in (["-o", "json", "--origin"], [], ["--origin"]):
        result = runner.invoke(config, ["show", "-c", str(file), *arguments], env={"SECRET": "tuna"})
        assert result.exit_code == 0
        assert "swordfish" not in result.output
        assert "tuna" not in result.output
        assert "@env:SECRET" in result.output


def test_config_validate_ends_with_3_and_reports_every_problem(runner: CliRunner, tmp_path: Path) -> None:
    file = settings(tmp_path, "log.level = 'loud'", "services.face.replicas = 1")
    result = runner.invoke(config, ["validate", "-c", str(file)])
    assert result.exit_code == 3
    assert f"{file}: 2 problems" in result.stderr
    assert runner.invoke(config, ["validate", "-c", str(settings(tmp_path))]).exit_code == 0


def test_config_schema_knows_every_setting_of_the_shipped_files(runner: CliRunner) -> None:
    described = json.loads(runner.invoke(config, ["schema"]).stdout)
    text = (Path(__file__).parents[3] / "configs/cloud.toml").read_text(encoding="utf-8")
    for table, body in tomllib.loads(text).items():
        if isinstance(body, dict):
            name = described["properties"][table]["$ref"].rsplit("/")[-1]
            assert set(body) <= set(described["$defs"][name]["properties"])


def test_check_of_a_talent_without_its_plotter_fails(runner: CliRunner, tmp_path: Path) -> None:
    lines = "talent.plotter = 'madmax'\ntalent.command = '/nowhere/chia_plot'"
    result = runner.invoke(check, ["-c", str(settings(tmp_path, lines, role="talent"))])
    assert result.exit_code == 1
    assert "no program '/nowhere/chia_plot' for the plotter 'madmax'" in result.stdout
