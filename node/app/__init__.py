"""Which roles does a node take, and who puts them together? `Node` does; one module a role, `ground.py` beneath them."""

from node.app.node import Node, Opened

__all__ = ["Node", "Opened"]
