"""The real run: three node processes with real pictures and models, on machines and links that are made slow."""
