"""ecnode: one node binary for video queries, tasks, plots and private sessions across edge and cloud."""

__version__ = "0.1.0"
