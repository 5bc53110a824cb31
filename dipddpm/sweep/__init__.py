"""A sweep: the points of all suites on many workers at once, each result stored as it arrives.

A suite's point runs here until it asks its memo for a result that the store does not have. That call, a plain function
of values, becomes a task for a worker; the point waits, and runs again when the result is there. So the dependencies
between results are written only in the experiments themselves, and a sweep computes exactly the results that a session
of the suites asks for.
"""
