"""How bytes move between nodes. What they mean is not known here."""
