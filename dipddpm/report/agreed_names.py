"""Names by which records tell the report what a number is. It imports nothing, so that records need no report."""

FLOOR = "floor of "  # a measure so named holds what real images score where the measure of the title holds a population
NOT_JUDGED = "why not judged"  # an axis: the reason for which images were not judged as a population
