"""What has to be made again in a process that was forked: locks, and the threads of numeric libraries."""

import os
import sys
import threading
import weakref
from functools import cache

import torch


class ForkLock:
    """`lock` keeps threads apart, and its holder may take it again; in a forked process it is a new one, which nobody
    holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _locks.add(self)
        _serve_forks()


_locks: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()


@cache
def _serve_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    """One thread for numeric libraries, as the pool that GNU OpenMP made before the fork is not there in the child,
    which would wait for it for ever."""
    for held in _locks:
        held.lock = threading.RLock()
    torch.set_num_threads(1)
    if "faiss" in sys.modules:  # it brings an OpenMP of its own
        sys.modules["faiss"].omp_set_num_threads(1)
