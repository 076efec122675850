"""Knowing that one is a child."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, sys
from usagewire import forks

FORKS = {"by Python": os.fork, "past Python's hooks": ctypes.PyDLL(None).fork}

def generation(left):
    assert forks.process() == os.getpid(), (left, forks.process(), os.getpid())
    if left:
        pid = FORKS[sys.argv[1]]()
        if not pid:
            generation(left - 1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert forks.process() == os.getpid()

if sys.argv[2] == "without the kernel's help":
    forks._WIPE_ON_FORK = -1
generation(3)
print("done")
"""


@pytest.mark.parametrize("way", ["by Python", "past Python's hooks"])
@pytest.mark.parametrize("kernel", ["with the kernel's help", "without the kernel's help"])
def test_every_generation_knows_its_own_process(way: str, kernel: str) -> None:
    """A child, its child, and that one's: none takes itself for its parent."""
    command = [sys.executable, "-c", PROGRAM, way, kernel]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ("done\n", "") == (done.stdout, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do without")
def test_asking_costs_no_system_call() -> None:
    """`os.getpid` is not asked while nothing was forked: it is asked for once per event."""
    program = """
import os
from usagewire import forks

def never():
    raise AssertionError

forks.process()
known, os.getpid = os.getpid(), never
assert forks.process() == known
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ("done\n", "") == (done.stdout, done.stderr)
