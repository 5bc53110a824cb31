"""The gate: a run against a stored baseline, with tolerances that no noise floor exceeds."""
