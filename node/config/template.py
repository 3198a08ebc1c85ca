"""What does a first config look like? `ecnode init` writes it: short, commented, and valid before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.config.kinds import RoleName

_HEAD: Final = """\
# Settings of one ecnode node; each line behind a # is an example or a default that can be changed.
# Look it over: ecnode check    start: ecnode up    all settings: ecnode config show --origin
schema = 1

[node]
name  = "{name}"
roles = [{roles}]
# labels   = {{ site = "hq" }}
# data_dir = "~/.local/share/ecnode"      # identity key, token, database

[transport]
"""
_CLOUD_TRANSPORT: Final = """\
listen = ["tcp://0.0.0.0:7440"]           # other nodes connect here, encrypted
admit  = "token"                          # token | approve | allow-list: how an unknown node gets in
# `ecnode token create --role edge` here and `ecnode join` there add an edge; or name its key, `ecnode id` there prints it:
# [[transport.allow]]
# name  = "edge-1"
# key   = "the 40 characters of its public key"
# roles = ["edge"]
"""
_MEMBER_TRANSPORT: Final = """\
# `ecnode join tcp://10.0.0.5:7440 --token …` tells this node its cloud. Without a token: name the cloud and its key here, start
# this node, and approve it there; its log says with which command.
# join = ["tcp://10.0.0.5:7440"]
# [[transport.allow]]
# name    = "cloud-1"
# key     = "the 40 characters of its public key"
# roles   = ["cloud"]
# address = "tcp://10.0.0.5:7440"
"""
_HTTP: Final = """\

[http]
listen = "127.0.0.1:7480"                 # HTTP API; any other address needs auth = "token"
auth   = "token"
"""
_SECTIONS: Final[dict[RoleName, str]] = {
    "cloud": """\

[cloud]
scheduler = "robust"
tick      = "1s"
""",
    "edge": """\

[edge]
# workers = 2                             # default: cores - 1
offload = "auto"                          # auto | never | always
# [edge.sources.lobby]
# url  = "rtsp://camera-1/stream1"        # or a file, or the number of a camera: "0"
# kind = "people indoor"
# fps  = 15
""",
    "talent": """\

[talent]
plotter = "builtin"                       # builtin (pip install 'ecnode[plots]') | chia | madmax | bladebit
max_parallel = 4
stagger = "10m"
# [[talent.cache]]                        # temp directories
# path = "/mnt/nvme0"
# reserve = "50GiB"
# [[talent.destination]]                  # where finished plots go
# type = "local"                          # local | nfs
# path = "/farm/plots"
# [talent.defaults]
# fpk = "…"                               # the farmer's and the pool's public keys, 96 hex digits each
# ppk = "…"
""",
    "federated": """\

[federated]
approve = "manual"                        # who says yes to a session: manual | allow-list | same-token | auto
# data_root = "data"                      # sessions read and write below it; default: federated/ in data_dir
""",
}


def render(roles: Sequence[RoleName], name: str) -> str:
    """The text of a config for a node of these roles."""
    listed = ", ".join(f'"{role}"' for role in roles)
    head = _HEAD.format(name=name, roles=listed)
    transport = _CLOUD_TRANSPORT if "cloud" in roles else _MEMBER_TRANSPORT
    return head + transport + _HTTP + "".join(_SECTIONS[role] for role in roles)
