"""What several roles need."""
