"""Projects with the consoles of other organisations."""
