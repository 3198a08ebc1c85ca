"""What the benchmarks share: their report, and the other sides that they compare with."""
