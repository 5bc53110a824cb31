"""Loads the pytest side of the benchmark: options, suites and fixtures, and the report at the end of a session."""

pytest_plugins = ["dipddpm.session.plugin", "dipddpm.session.suites"]
