"""The edge: owns cameras, runs jobs."""
