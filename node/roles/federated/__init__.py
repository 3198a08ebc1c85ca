"""How does a node take part in private sessions?"""
