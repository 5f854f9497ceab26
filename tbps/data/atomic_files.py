"""Files on disk: atomic writes, locks, and checksums that detect changes."""

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
_NAME_LENGTH = 40  # characters of the target's name in the name of its partial file, which is limited to 255 bytes


def target_of_partial(name: str) -> str | None:
    """Return the target's name, cut to 40 characters, of a partial file that a killed `atomic_file` left.

    Returns None for any other file.
    """
    found = _PARTIAL.fullmatch(name)
    return found.group(1) if found else None


def broken_link(path: Path) -> Path | None:
    """Find the first broken link on a path, such as one to a disk that is not mounted."""
    steps = (path, *path.parents)
    return next((step for step in reversed(steps) if step.is_symlink() and not step.exists()), None)


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Hold a lock file. If another process holds it, raise `busy` at once."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, FileNotFoundError, FileExistsError):  # the last two: the other process is removing the folder
        raise busy from None
    try:
        yield
    finally:
        lock.release()


def _make_folder(directory: Path) -> None:
    """Create a folder and its parents, and try again if another process removes a parent at the same time.

    A folder that cannot be created after several attempts, such as one below /proc, has another problem.
    """
    for attempts_left in reversed(range(9)):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            if not attempts_left:
                raise
        else:
            return


@contextmanager
def locked_folder(directory: Path, lock_name: str, busy: Exception) -> Iterator[None]:
    """Hold a lock on a folder, which is created if missing. If another process holds it, raise `busy` at once.

    If the folder is still empty at the end, the lock file and the folders created here are removed.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        _make_folder(directory)
    except FileExistsError:  # the other process is removing the folder
        raise busy from None
    try:
        with locked(directory / lock_name, busy):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows does not delete open files
                    only = list(directory.iterdir())
                    if [path.name for path in only] == [lock_name] and not only[0].stat().st_size:
                        only[0].unlink()
    finally:
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


@contextmanager
def atomic_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` atomically when the block ends.

    Readers see either the old file or the new one, even after a power failure. The new file keeps the permissions of
    the old one. If `path` is a link, the file that it points to is replaced. If the block fails, no partial file
    remains, and no other file is ever overwritten.

    Args:
        durable: Wait until the file is on disk. Otherwise a power failure may leave it empty.

    Raises:
        OSError: The file cannot be written, or `path` is not a regular file. The message always names `path`.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():  # a rename would put a file in its place
        raise OSError(errno.EINVAL, "This is a device, a pipe or a socket, not a regular file", str(path))
    temporary = target.with_name(f".{target.name[:_NAME_LENGTH]}.{secrets.token_hex(8)}.partial")
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
    """Write `data` to `path` atomically, see `atomic_file`."""
    with atomic_file(path, durable) as file:
        file.write(data)


def _sync_directory(directory: Path) -> None:
    """Flush a folder to disk, so that a rename in it survives a power failure. Not possible or needed on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(data: bytes | memoryview) -> str:
    """Compute the CRC-32 in hex. It detects accidental changes (all but one in 4 billion), not deliberate ones."""
    return f"{zlib.crc32(data):08x}"


def content_hash(path: Path) -> str:
    """Compute the xxh3 hash of a file in hex without loading it into memory, at the speed of the disk."""
    with open_regular(path, None) as file:
        return hashlib.file_digest(file, xxhash.xxh3_64).hexdigest()


def file_checksum(path: Path) -> str:
    """Compute the `checksum` of a file without loading it into memory."""
    value = 0
    with open_regular(path, None) as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}"
