"""What is in the file of a shard: an Arrow stream of one record batch of a fixed schema.

A checksum says that bytes are those that somebody wrote, not that they are a shard: Arrow believes lengths and offsets,
and ends the process where they point outside of memory. So all of them are checked before a value is read.
"""

import json
import struct
from dataclasses import MISSING, asdict, fields

import numpy as np
import pyarrow as pa
import xxhash

from tbps.data.strict_json import build_dataclass, parse_json
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import ADVICE, CheckedFile
from tbps.gallery.folder.int8 import ROW_NUMBERS
from tbps.gallery.folder.manifest import Origin
from tbps.gallery.store import Dtype, Layout, Row

_STEPS, _ORIGIN, _NAME, _SEAL = b"tbps.steps", b"tbps.gallery", b"tbps.file", b"tbps.seal"  # of a schema's metadata
_TYPES = {"timestamp": pa.float64(), "thumbnail": pa.binary()}  # of a row's fields that are no text
_NUMBERS: dict[Dtype, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}
_NEEDED = {field.name for field in fields(Row) if field.default is MISSING} - {"path"}
_UNSEALED = b"\xff" * 16  # in the place of a checksum: nothing else in a schema has such bytes
_CONTINUES, _END = 0xFFFFFFFF, 8  # before each message; bytes after the last


def schema(layout: Layout) -> pa.Schema:
    """The columns of a shard of E = `layout.width` numbers a vector."""
    columns = {field.name: _TYPES.get(field.name, pa.string()) for field in fields(Row)}
    columns["code"] = pa.list_(pa.int8(), layout.width)
    columns |= dict.fromkeys(ROW_NUMBERS, pa.float32())
    if layout.dtype != "int8":
        columns["embedding"] = pa.list_(_NUMBERS[layout.dtype], layout.width)
    return pa.schema(columns.items())


def described(batch: pa.RecordBatch, steps: np.ndarray, origin: Origin) -> pa.RecordBatch:
    """A batch that carries the steps (E,) of its codes, and all that its manifest says of every file."""
    about = json.dumps(asdict(origin)).encode()
    return batch.replace_schema_metadata({_STEPS: steps.astype(np.float32).tobytes(), _ORIGIN: about})


def stream_of(batch: pa.RecordBatch, name: str) -> memoryview:
    """The bytes of a shard's file. Its schema also carries the file's name and a checksum of all the rest, by which
    the file can be believed without a manifest, and in its own place alone."""
    batch = batch.replace_schema_metadata({**batch.schema.metadata, _NAME: name.encode(), _SEAL: _UNSEALED})
    head = batch.schema.serialize().to_pybytes()
    data = np.empty(len(head) + pa.ipc.get_record_batch_size(batch) + _END, np.uint8)  # once: it may be large
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(pa.py_buffer(data)), batch.schema) as stream:
        stream.write_batch(batch)
    view, place = data.data, head.index(_UNSEALED)
    view[place : place + len(_UNSEALED)] = _seal(view)
    return view


def check_seal(file: CheckedFile) -> None:
    """
    Refuse a shard that is not as `stream_of` made it, whatever the checksums of its blocks.

    Raises:
        GalleryError: it is damaged, or no shard.
    """
    try:
        stream = pa.BufferReader(file.arrow)
        seal = (pa.ipc.read_schema(_message(file, stream, "schema")).metadata or {}).get(_SEAL, b"")
        data = memoryview(file.arrow)
        head = bytes(data[: stream.tell()])
        if head.count(seal) != 1 or seal != _seal(head.replace(seal, _UNSEALED), data[stream.tell() :]):
            raise ValueError("its own checksum is another")
    except _NO_SHARD as error:
        raise _named(file, error) from error


def _seal(*pieces: memoryview | bytes) -> bytes:
    digest = xxhash.xxh3_64()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode()


def steps_of(batch: pa.RecordBatch) -> np.ndarray:
    """The steps (E,) float32 of a batch that `open_batch` gave."""
    return np.frombuffer(batch.schema.metadata[_STEPS], np.float32)


def described_rows(file: CheckedFile) -> tuple[int, Origin]:
    """
    What a shard says of itself: its number of rows, and the gallery that it was written for.

    Raises:
        GalleryError: it is damaged, or no shard.
    """
    try:
        origin = _origin(pa.ipc.read_schema(_message(file, pa.BufferReader(file.arrow), "schema")))
        return len(_read(file, schema(origin.layout))), origin
    except _NO_SHARD as error:
        raise _named(file, error) from error


def open_stream(file: CheckedFile, expected: pa.Schema) -> pa.RecordBatch:
    """
    The columns of a file of one batch, none of whose values has been read.

    Raises:
        GalleryError: it is damaged, or has other columns.
    """
    try:
        return _read(file, expected)
    except _NO_SHARD as error:
        raise _named(file, error) from error


def open_batch(file: CheckedFile, rows: int, origin: Origin) -> pa.RecordBatch:
    """
    The columns of a shard, none of whose values has been read.

    Args:
        rows: their number. origin: of the manifest.

    Raises:
        GalleryError: it is damaged, or not the shard that the manifest names.
    """
    try:
        batch = _read(file, schema(origin.layout))
        if _origin(batch.schema).layout != origin.layout:
            raise ValueError("its vectors have another layout than gallery.json says")
        if batch.schema.metadata.get(_NAME) != file.path.name.encode():
            raise ValueError("it was written under another name")
        if len(batch) != rows:
            raise ValueError(f"it has {len(batch)} rows where gallery.json says {rows}")
        steps = batch.schema.metadata.get(_STEPS, b"")
        if len(steps) != 4 * origin.layout.width or not _all_between(steps_of(batch), float(np.finfo(np.float32).tiny)):
            raise ValueError("the steps of its codes are not positive numbers, one for each of a vector")
    except _NO_SHARD as error:
        raise _named(file, error) from error
    return batch


def checked_column(file: CheckedFile, batch: pa.RecordBatch, name: str) -> pa.Array:
    """
    A column whose bytes, offsets and text have been checked.

    Raises:
        GalleryError: it is damaged.
    """
    array = batch[name]
    try:
        file.verify_array(array)
        array.validate(full=True)
        if array.null_count and (name in _NEEDED or name not in Row.__dataclass_fields__):
            raise ValueError(f"a row has no {name}")
        if name in ROW_NUMBERS and not _all_between(array.to_numpy(), 0):
            raise ValueError(f"a row's {name} is no number of at least 0")
    except _NO_SHARD as error:
        raise _named(file, error) from error
    return array


_NO_SHARD = (pa.ArrowException, ValueError, OSError, struct.error)


def _named(file: CheckedFile, error: Exception) -> GalleryError:
    if isinstance(error, GalleryError):
        return error
    return GalleryError(f"{file.path} is damaged ({str(error)[:200]}): {ADVICE}")


def _origin(found: pa.Schema) -> Origin:
    return build_dataclass(Origin, parse_json((found.metadata or {}).get(_ORIGIN, b"")), "what it says of its gallery")


def _read(file: CheckedFile, expected: pa.Schema) -> pa.RecordBatch:
    stream = pa.BufferReader(file.arrow)
    found = pa.ipc.read_schema(_message(file, stream, "schema"))
    if not found.equals(expected):  # before Arrow reads columns of types that nobody expects
        raise ValueError("its columns are not those of a shard of this gallery")
    message = _message(file, stream, "record batch")
    if _is_compressed(message.metadata):
        raise ValueError("it is compressed")  # a few bytes could ask for all memory
    if stream.tell() + _END != len(file.bytes):
        raise ValueError("it does not end after one batch of rows")
    return pa.ipc.read_record_batch(message, found)


def _message(file: CheckedFile, stream: pa.BufferReader, kind: str) -> pa.ipc.Message:
    """The next message of a stream, of which Arrow learns where everything is: that is verified first."""
    start = stream.tell()
    file.verify(start, start + _END)
    mark, length = struct.unpack_from("<II", memoryview(file.arrow), start)
    if mark != _CONTINUES or not 0 < length <= len(file.bytes) - start - _END:
        raise ValueError(f"there is no {kind} at byte {start}")
    file.verify(start, start + _END + length)
    message = pa.ipc.read_message(stream)
    if message.type != kind:
        raise ValueError(f"there is a {message.type} at byte {start}, expected a {kind}")
    return message


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Whether the table `RecordBatch` of a message's flatbuffer, which Arrow has verified, has `compression`."""
    data = memoryview(metadata)

    def entry(table: int, number: int) -> int:
        """The place of a table's field, 0 if it has none: tables begin with the distance to a list of places."""
        [back] = struct.unpack_from("<i", data, table)
        [size] = struct.unpack_from("<H", data, table - back)
        place = 4 + 2 * number
        found: int = struct.unpack_from("<H", data, table - back + place)[0] if place < size else 0
        return table + found if found else 0

    [message] = struct.unpack_from("<I", data)
    header = entry(message, 2)
    batch = header + struct.unpack_from("<I", data, header)[0]
    return bool(entry(batch, 3))


def _all_between(numbers: np.ndarray, least: float) -> bool:
    return bool(((numbers >= least) & (numbers < np.inf)).all())
