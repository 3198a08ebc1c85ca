"""A world for schedulers: what is true in it, who plans in it, how a run is counted and drawn."""
