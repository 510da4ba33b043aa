"""What the garbage collector is told to leave alone."""

import gc
import subprocess
import sys

import pytest

from explorer import garbage


@pytest.fixture(autouse=True)
def unfrozen():
    """Leaves the collector as it was."""
    yield
    gc.unfreeze()


def test_the_collector_looks_at_nothing_that_the_block_made_and_goes_on_afterwards():
    with garbage.left_out():
        assert not gc.isenabled()
        made = [[]]
    later = [[]]
    looked_at = {id(thing) for thing in gc.get_objects()}
    assert gc.isenabled()
    assert id(made) not in looked_at and id(later) in looked_at


def test_the_collector_goes_on_after_an_error_too():
    with pytest.raises(ImportError), garbage.left_out():
        raise ImportError
    assert gc.isenabled()


def test_at_the_end_of_the_process_everything_is_looked_at_again():
    script = (
        # Runs last: after what is registered later.
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))\n"
        "from explorer import garbage\n"
        "with garbage.left_out(): pass\n"
        "assert gc.get_freeze_count()"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "0\n"
