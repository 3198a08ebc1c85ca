"""Video: sources, services, plans."""
