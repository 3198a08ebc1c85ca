"""The front door: a thin HTTP API over what the roles offer."""
