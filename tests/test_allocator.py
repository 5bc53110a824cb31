"""The C library keeps what a measuring process frees, and says so in the record of the machine."""

import subprocess
import sys

import pytest

ASK = """
import resource, torch
from dipddpm.measure.instruments import allocator
{before}
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        alive = torch.ones(12_000_000)
        del alive
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(20)  # until the heap has found its size
print(faults(5), allocator.described())
"""


def ask(before, **environment):
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)], capture_output=True, text=True, check=True,
        env={"PATH": "", "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    count, _, described = done.stdout.strip().partition(" ")
    return int(count), described


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux")
@pytest.mark.long
def test_memory_that_is_kept_takes_no_page_faults():
    as_it_is, described = ask("")
    assert described == "as the system has it"
    kept, described = ask("allocator.keep_freed()")
    if described != "keeps freed memory":
        pytest.skip("this C library has no mallopt")
    assert kept < as_it_is / 10


def test_what_the_environment_chose_stays():
    _, described = ask("allocator.keep_freed()", MALLOC_TOP_PAD_="1000000")
    assert described == "MALLOC_TOP_PAD_=1000000"
