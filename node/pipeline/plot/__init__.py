"""What is computed for a plot: its log is read, its space is reckoned, its file is copied and proven."""
