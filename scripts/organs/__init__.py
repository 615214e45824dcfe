"""Parts of scripts/bench anatomy: cohorts, the product as a user drives it, rows and targets."""
