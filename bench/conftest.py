"""What suites share."""

import pytest


@pytest.fixture
def asked_for(request):
    """Minutes of timing are no part of a run that asks other questions: ``-k NAME`` or profile ``full`` ask for it."""
    name = request.module.__name__.removeprefix("bench_")
    given = [request.config.getoption("keyword"), *request.config.args]
    if request.config.getoption("profile") != "full" and not any(name in text for text in given):
        pytest.skip(f"takes its time: pytest bench -k {name}, or --profile full")
