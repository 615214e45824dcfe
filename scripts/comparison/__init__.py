"""What benchmarks of synthetic volumes share: rows, where they are kept, measures, sheets."""
