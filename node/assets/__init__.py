"""Which models and clips does a node need, where are they on disk, and how do they get there?

Nothing here imports OpenCV: what is computed is made by a child process.
"""

from node.assets.fetch import fetch
from node.assets.manifest import Asset, Derived, Manifest, load_manifest, missing, path

__all__ = ["Asset", "Derived", "Manifest", "fetch", "load_manifest", "missing", "path"]
