"""The commands that write, check and show a config: `init`, `check`, `config`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeVar, cast

import click

from node.cli import SuggestingGroup
from node.config import Known, Loaded, NodeConfig, RoleName, config_files, load, report
from node.config.problems import dotted
from node.config.reference import written
from node.config.schema import host_name
from node.config.template import render
from node.errors import ConfigInvalid

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_CONFLICT: Final = 7
_SIGNS: Final = {"fail": "✗", "warn": "!", "ok": "✓"}

F = TypeVar("F", bound=Callable[..., None])


def config_options(command: F) -> F:
    """The options of every command that reads a config: -c, --set, --dev."""
    command = click.option("--dev", is_flag=True, help="Allow what `ecnode up --dev` allows.")(command)
    command = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="One setting, such as http.listen=…")(
        command
    )
    return click.option(
        "-c",
        "--config",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Config file; several are merged in order.",
    )(command)


@click.command()
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(["cloud", "edge", "talent", "federated"]), help="Default: cloud."
)
@click.option("--name", default="", help="Name of the node; default: the host name.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("ecnode.toml"), show_default=True, help="File to write.")
@click.option("--force", is_flag=True, help="Replace the file; the key is never replaced.")
def init(roles: tuple[str, ...], name: str, out: Path, force: bool) -> None:
    """Write a commented config and make the node's key."""
    from node.transport.keys import load_or_create

    chosen = cast("Sequence[RoleName]", tuple(dict.fromkeys(roles)) or ("cloud",))
    name = name or host_name()
    text = render(chosen, name)
    try:
        load([], {}, [f"node.name={json.dumps(name)}", f"node.roles={json.dumps(chosen)}"])
    except ConfigInvalid as error:
        _leave(EXIT_CONFIG, "\n".join(f"--name {name!r}: {problem.message}" for problem in error.problems))
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
        config = load([out], os.environ, []).config
    except FileExistsError:
        _leave(EXIT_CONFLICT, f"{out} is there already; --force replaces it, --out writes another")
    except ConfigInvalid as error:
        _leave(EXIT_CONFIG, report(error.problems))
    except OSError as error:
        _leave(EXIT_FAILED, f"{out} cannot be written: {error.strerror}")
    config.node.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = load_or_create(config.identity_file)
    click.echo(f"config       {out}")
    click.echo(f"public key   {identity.public}")
    click.echo(f"fingerprint  {identity.fingerprint}")
    click.echo(f"next         ecnode check -c {out} && ecnode up -c {out}", err=True)


@click.command()
@config_options
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
def check(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, as_json: bool) -> None:
    """Look whether the config is right and would run on this machine.

    Ends with 0 when it would, 3 when the config is invalid, 1 when another check fails.
    """
    from node.cli.preflight import Finding, preflight
    from node.clock import SystemClock

    findings: list[Finding]
    used = config_files(files, os.environ)
    try:
        loaded = load(used, os.environ, sets, known_here(dev))
    except ConfigInvalid as error:
        findings = [Finding("fail", "config", str(problem)) for problem in error.problems]
    else:
        findings = [Finding("warn", "config", str(problem)) for problem in loaded.warnings]
        findings += preflight(loaded.config, used, SystemClock())
    failed = {finding.check for finding in findings if finding.level == "fail"}
    if as_json:
        rows = [{"level": each.level, "check": each.check, "text": each.text} for each in findings]
        click.echo(json.dumps({"ok": not failed, "findings": rows}, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_rows([(each.level, each.check, each.text) for each in findings])))
    if failed:
        raise click.exceptions.Exit(EXIT_CONFIG if "config" in failed else EXIT_FAILED)


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Show and validate the settings."""


@config.command()
@config_options
@click.option("--origin", is_flag=True, help="Tell where each value came from.")
@click.option("-o", "--output", type=click.Choice(["toml", "json"]), default="toml", show_default=True)
def show(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, origin: bool, output: str) -> None:
    """Print all settings as the node would see them; secrets stay hidden."""
    loaded = _loaded(files, sets, dev)
    if output == "json":
        document: object = loaded.shown()
        if origin:
            document = {"config": document, "origins": dict(loaded.origins)}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    settings = list(_settings(loaded))
    width = max(len(line) for line, _ in settings) if origin else 0
    for line, path in settings:
        click.echo(f"{line:<{width}}  # {loaded.origins[path]}" if origin else line)


@config.command()
@config_options
def validate(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool) -> None:
    """Check the settings and nothing else; ends with 3 when they are invalid."""
    loaded = _loaded(files, sets, dev)
    for problem in loaded.warnings:
        click.echo(f"! {problem}", err=True)
    used = config_files(files, os.environ)
    click.echo(f"{', '.join(map(str, used)) or 'config'}: valid")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the config file, for editors."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **NodeConfig.model_json_schema()}
    click.echo(json.dumps(described, indent=2))


@config.command()
def reference() -> None:
    """Print the reference manual of all settings."""
    from node.config.reference import markdown

    click.echo(markdown(), nl=False)


def config_of(files: Sequence[Path], sets: Sequence[str], *, dev: bool) -> NodeConfig:
    """The config that the options of `config_options` name."""
    return load(config_files(files, os.environ), os.environ, sets, known_here(dev)).config


def known_here(dev: bool) -> Known:
    """What this release can do, for checking names in a config."""
    from node.pipeline.stage import SERVICES

    return Known(services=SERVICES, dev=dev)


def _loaded(files: Sequence[Path], sets: Sequence[str], dev: bool) -> Loaded:
    try:
        return load(config_files(files, os.environ), os.environ, sets, known_here(dev))
    except ConfigInvalid as error:
        _leave(EXIT_CONFIG, report(error.problems))


def _leave(code: int, message: str) -> NoReturn:
    click.echo(message, err=True)
    raise click.exceptions.Exit(code)


def _rows(findings: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """One row for each trouble, then one row for all that is well."""
    for level in ("fail", "warn"):
        yield from (f"{_SIGNS[level]} {check:<8} {text}" for each, check, text in findings if each == level)
    well = [f"{_SIGNS['ok']} {check} {text}" for each, check, text in findings if each == "ok"]
    if well:
        yield "  ".join(well)


def _settings(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Each setting as a line `dotted.path = value`, and its path."""
    for location, value in loaded.settings():
        path = dotted(location)
        yield (f"# {path} is not set" if value is None else f"{path} = {written(location, value)}"), path
