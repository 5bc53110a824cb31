"""The report of this benchmark: contrasts, verdicts, tables and figures, derived from records alone."""
