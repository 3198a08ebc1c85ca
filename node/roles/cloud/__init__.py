"""The cloud: accepts queries, knows the nodes, chooses the plans."""
