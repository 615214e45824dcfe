"""Parts of the benchmark of contrasts."""
