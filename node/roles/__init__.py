"""Who does it: the only place that joins transport, storage and pipeline."""
