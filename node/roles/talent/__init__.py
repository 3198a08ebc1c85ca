"""The role that plots: worker, supervisor, log receiver."""
