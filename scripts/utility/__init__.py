"""Parts of scripts/bench utility: cohorts, methods, baselines, measures, report."""
