"""What is this node told to do? `load` answers with a checked config, or with everything that is wrong with it."""

from node.config.checks import Known
from node.config.kinds import RoleName
from node.config.loading import Loaded, config_files, load
from node.config.problems import ConfigProblem, report
from node.config.schema import (
    AllowedPeer,
    CloudConfig,
    EdgeConfig,
    HttpConfig,
    LogConfig,
    NodeConfig,
    NodeSection,
    ServiceConfig,
    SourceConfig,
    StorageConfig,
    TransportConfig,
)

__all__ = [
    "AllowedPeer",
    "CloudConfig",
    "ConfigProblem",
    "EdgeConfig",
    "HttpConfig",
    "Known",
    "Loaded",
    "LogConfig",
    "NodeConfig",
    "NodeSection",
    "RoleName",
    "ServiceConfig",
    "SourceConfig",
    "StorageConfig",
    "TransportConfig",
    "config_files",
    "load",
    "report",
]
