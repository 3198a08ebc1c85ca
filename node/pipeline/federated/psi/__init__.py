"""How do parties learn which ids they have in common, and nothing else of each other's?"""
