"""The gate: compares a run with a stored baseline, within tolerances that are no smaller than the measured noise."""
