"""Locks on a gallery: one writing process at a time, and threads that take turns, also after a fork."""

import os
import sys
import threading
import weakref
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import torch

from tbps.data.atomic_files import locked_folder
from tbps.gallery.checks import GalleryError

LOCK_NAME = "gallery.lock"


def write_lock(directory: Path) -> AbstractContextManager[None]:
    """
    Hold a gallery's lock against other processes. The folder is created if it does not exist.

    Raises:
        GalleryError: another process holds it.
        OSError: the folder cannot be written to.
    """
    busy = GalleryError(f"Another process is writing to the gallery {directory}. Wait until it has ended, then retry.")
    return locked_folder(directory, LOCK_NAME, busy)


class ForkLock:
    """A reentrant lock for threads, `lock`. A forked process gets a new lock, which nobody holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _locks.add(self)
        _register_fork_handler()


_locks: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()


@cache
def _register_fork_handler() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset_after_fork)


def _reset_after_fork() -> None:
    """Replace the locks, and use one thread in numeric libraries: GNU OpenMP's thread pool does not survive a fork, and
    the child would wait for it for ever."""
    for held in _locks:
        held.lock = threading.RLock()
    torch.set_num_threads(1)
    if "faiss" in sys.modules:  # it has its own OpenMP
        sys.modules["faiss"].omp_set_num_threads(1)
