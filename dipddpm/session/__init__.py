"""A pytest session: joins the experiments, the measurement and the report."""
