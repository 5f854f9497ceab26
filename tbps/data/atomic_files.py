"""Files that are there whole or not at all, and that say when they have changed."""

import errno
import hashlib
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import xxhash
from filelock import FileLock, Timeout

from tbps.files_tbps import open_regular

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{16}\.partial", re.DOTALL)
_NAMED = 40  # characters of a file's name in that of its partial one: names end at 255 bytes


def target_of_partial(name: str) -> str | None:
    """The name of the file that `atomic_file` was writing, cut to 40 characters, by that of the partial file which a
    killed process left; None for a file that `atomic_file` did not make."""
    found = _PARTIAL.fullmatch(name)
    return found.group(1) if found else None


def broken_link(path: Path) -> Path | None:
    """The first link on the way to `path` that leads nowhere, such as one to a disk that is not mounted."""
    steps = (path, *path.parents)
    return next((step for step in reversed(steps) if step.is_symlink() and not step.exists()), None)


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Hold a lock, which is a file; where another process holds it, `busy` is raised at once."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, FileNotFoundError, FileExistsError):  # the last two: the other one is removing its folder
        raise busy from None
    try:
        yield
    finally:
        lock.release()


def _make_folder(directory: Path) -> None:
    """Others may remove folders on the way that they had made, while this one makes its own. Where one cannot be made
    time and again, as below /proc, there is another reason."""
    for left in reversed(range(9)):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            if not left:
                raise
        else:
            return


@contextmanager
def locked_folder(directory: Path, lock_name: str, busy: Exception) -> Iterator[None]:
    """Hold a lock on a folder, which is made if it is not there. Where nothing has come into it by the end, the lock's
    file is gone, and so are the folders that were made."""
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        _make_folder(directory)
    except FileExistsError:  # the other one is removing what it had made
        raise busy from None
    try:
        with locked(directory / lock_name, busy):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps open files
                    only = list(directory.iterdir())
                    if [path.name for path in only] == [lock_name] and not only[0].stat().st_size:
                        only[0].unlink()
    finally:
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def atomic_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write that is under `path` when the block ends: a reader, or a machine that lost power, finds the old
    file or the new one, with the old one's permissions. A link stays, and the file it leads to is the one that is
    replaced. Where the block fails, nothing half-written stays behind; no other file is ever written over.

    Args:
        durable: wait until it is on disk. Otherwise a machine that loses power may leave it empty.

    Raises:
        OSError: it cannot be written, or `path` is something else than a file; the message names `path`, which that of
            a full disk by itself does not.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():  # a rename would put a file in its place
        raise OSError(errno.EINVAL, "A device, a pipe or a socket is there", str(path))
    temporary = target.with_name(f".{target.name[:_NAMED]}.{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(target.parent)


def write_atomically(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Put `data` on disk under `path`, as `atomic_file` does."""
    with atomic_file(path, durable) as file:
        file.write(data)


def _sync_directory(directory: Path) -> None:
    """Make a rename last, which is a change of the folder; Windows cannot open one and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(data: bytes | memoryview) -> str:
    """CRC-32 in hex. It is against accidents, of which one in four thousand million would pass, not against attack."""
    return f"{zlib.crc32(data):08x}"


def content_hash(path: Path) -> str:
    """xxh3 of a file's contents in hex, read piece by piece: for files of gigabytes, at the speed of the disk."""
    with open_regular(path, None) as file:
        return hashlib.file_digest(file, xxhash.xxh3_64).hexdigest()


def file_checksum(path: Path) -> str:
    """`checksum` of a file's contents, read piece by piece."""
    value = 0
    with open_regular(path, None) as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return f"{value:08x}"
