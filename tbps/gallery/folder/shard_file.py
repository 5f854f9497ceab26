"""The file format of a shard: an Arrow stream of one record batch with a fixed schema.

A checksum shows that bytes did not change, not that they are a valid shard. Arrow trusts lengths and offsets, and
crashes if they point outside memory. So all of them are checked before a value is read.
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
from tbps.gallery.folder.manifest_entries import Origin
from tbps.gallery.store import Dtype, Layout, Row

_STEPS, _ORIGIN, _NAME, _SEAL = b"tbps.steps", b"tbps.gallery", b"tbps.file", b"tbps.seal"  # keys of schema metadata
_TYPES = {"timestamp": pa.float64(), "thumbnail": pa.binary()}  # of the fields of `Row` that are not text
_NUMBERS: dict[Dtype, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}
_NEEDED = {field.name for field in fields(Row) if field.default is MISSING} - {"path"}
_UNSEALED = b"\xff" * 16  # stands for the seal while it is computed: no schema has these bytes elsewhere
_CONTINUATION, _END = 0xFFFFFFFF, 8  # the marker before each message; the number of bytes after the last


def schema(layout: Layout) -> pa.Schema:
    """Return the columns of a shard whose vectors have E = `layout.width` numbers."""
    columns = {field.name: _TYPES.get(field.name, pa.string()) for field in fields(Row)}
    columns["code"] = pa.list_(pa.int8(), layout.width)
    columns |= dict.fromkeys(ROW_NUMBERS, pa.float32())
    if layout.dtype != "int8":
        columns["embedding"] = pa.list_(_NUMBERS[layout.dtype], layout.width)
    return pa.schema(columns.items())


def with_origin(batch: pa.RecordBatch, steps: np.ndarray, origin: Origin) -> pa.RecordBatch:
    """Add the quantisation steps (E,) and the origin to the schema of a batch."""
    described = json.dumps(asdict(origin)).encode()
    return batch.replace_schema_metadata({_STEPS: steps.astype(np.float32).tobytes(), _ORIGIN: described})


def to_bytes(batch: pa.RecordBatch, name: str) -> memoryview:
    """
    Serialise a shard.

    Its schema also carries the file's name and a seal, a checksum of all other bytes. They show without a manifest that
    the file is sound and has the name under which it was written.
    """
    batch = batch.replace_schema_metadata({**batch.schema.metadata, _NAME: name.encode(), _SEAL: _UNSEALED})
    head = batch.schema.serialize().to_pybytes()
    data = np.empty(
        len(head) + pa.ipc.get_record_batch_size(batch) + _END, np.uint8
    )  # a single allocation, which may be large
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(pa.py_buffer(data)), batch.schema) as stream:
        stream.write_batch(batch)
    view, start = data.data, head.index(_UNSEALED)
    view[start : start + len(_UNSEALED)] = seal(view)
    return view


def check_seal(file: CheckedFile) -> None:
    """
    Refuse a shard that differs from what `to_bytes` made, even if the checksums of its blocks match.

    Raises:
        GalleryError: it is damaged, or not a shard.
    """
    try:
        stream = pa.BufferReader(file.arrow)
        found = (pa.ipc.read_schema(_message(file, stream, "schema")).metadata or {}).get(_SEAL, b"")
        data = memoryview(file.arrow)
        head = bytes(data[: stream.tell()])
        if head.count(found) != 1 or found != seal(head.replace(found, _UNSEALED), data[stream.tell() :]):
            raise ValueError("its seal does not match its content")
    except _FORMAT_ERRORS as error:
        raise _damaged(file, error) from error


def seal(*parts: memoryview | bytes) -> bytes:
    """Return the checksum of bytes that come in parts."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def steps_of(batch: pa.RecordBatch) -> np.ndarray:
    """Return the quantisation steps (E,) float32 of a batch from `open_batch`."""
    return np.frombuffer(batch.schema.metadata[_STEPS], np.float32)


def read_origin(file: CheckedFile) -> tuple[int, Origin]:
    """
    Return the number of rows of a shard, and the origin of the gallery for which it was written.

    Raises:
        GalleryError: it is damaged, or not a shard.
    """
    try:
        origin = _origin(pa.ipc.read_schema(_message(file, pa.BufferReader(file.arrow), "schema")))
        return len(_read(file, schema(origin.layout))), origin
    except _FORMAT_ERRORS as error:
        raise _damaged(file, error) from error


def open_stream(file: CheckedFile, expected: pa.Schema) -> pa.RecordBatch:
    """
    Open the columns of a file of one batch. Reads no values.

    Raises:
        GalleryError: it is damaged, or has other columns.
    """
    try:
        return _read(file, expected)
    except _FORMAT_ERRORS as error:
        raise _damaged(file, error) from error


def open_batch(file: CheckedFile, rows: int, origin: Origin) -> pa.RecordBatch:
    """
    Open the columns of a shard. Reads no values.

    Args:
        file: the shard.
        rows: the number of rows that the manifest states.
        origin: the origin that the manifest states.

    Raises:
        GalleryError: it is damaged, or not the shard that the manifest names.
    """
    try:
        batch = _read(file, schema(origin.layout))
        if _origin(batch.schema).layout != origin.layout:
            raise ValueError("the layout of its vectors differs from the one in gallery.json")
        if batch.schema.metadata.get(_NAME) != file.path.name.encode():
            raise ValueError("it was written under another name")
        if len(batch) != rows:
            raise ValueError(f"it has {len(batch)} rows, and gallery.json states {rows}")
        steps = batch.schema.metadata.get(_STEPS, b"")
        if len(steps) != 4 * origin.layout.width or not _all_between(steps_of(batch), float(np.finfo(np.float32).tiny)):
            raise ValueError("the quantisation steps must be positive, one for each number of a vector")
    except _FORMAT_ERRORS as error:
        raise _damaged(file, error) from error
    return batch


def checked_column(file: CheckedFile, batch: pa.RecordBatch, name: str) -> pa.Array:
    """
    Return a column after checking its bytes, offsets and text.

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
            raise ValueError(f"{name} of a row must be at least 0")
    except _FORMAT_ERRORS as error:
        raise _damaged(file, error) from error
    return array


_FORMAT_ERRORS = (pa.ArrowException, ValueError, OSError, struct.error)


def _damaged(file: CheckedFile, error: Exception) -> GalleryError:
    if isinstance(error, GalleryError):
        return error
    return GalleryError(f"{file.path} is damaged ({str(error)[:200]}): {ADVICE}")


def _origin(found: pa.Schema) -> Origin:
    return build_dataclass(Origin, parse_json((found.metadata or {}).get(_ORIGIN, b"")), "its origin")


def _read(file: CheckedFile, expected: pa.Schema) -> pa.RecordBatch:
    stream = pa.BufferReader(file.arrow)
    found = pa.ipc.read_schema(_message(file, stream, "schema"))
    if not found.equals(expected):  # before Arrow reads columns of unexpected types
        raise ValueError("its columns are not those of this gallery")
    message = _message(file, stream, "record batch")
    if _is_compressed(message.metadata):
        raise ValueError("it is compressed")  # a few bytes could expand to all memory
    if stream.tell() + _END != len(file.bytes):
        raise ValueError("it has data after its one batch of rows")
    return pa.ipc.read_record_batch(message, found)


def _message(file: CheckedFile, stream: pa.BufferReader, kind: str) -> pa.ipc.Message:
    """Read the next message of a stream. Its bytes are verified first, because they tell Arrow where the data are."""
    start = stream.tell()
    file.verify(start, start + _END)
    mark, length = struct.unpack_from("<II", memoryview(file.arrow), start)
    if mark != _CONTINUATION or not 0 < length <= len(file.bytes) - start - _END:
        raise ValueError(f"byte {start} must begin a {kind}")
    file.verify(start, start + _END + length)
    message = pa.ipc.read_message(stream)
    if message.type != kind:
        raise ValueError(f"byte {start} must begin a {kind}, got a {message.type}")
    return message


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Whether the `RecordBatch` of a message sets `compression`. Arrow has verified the flatbuffer."""
    data = memoryview(metadata)

    def entry(table: int, number: int) -> int:
        """Return the position of a table's field; 0 if it is absent. A table begins with the distance to the list of
        its fields' positions."""
        [back] = struct.unpack_from("<i", data, table)
        [size] = struct.unpack_from("<H", data, table - back)
        slot = 4 + 2 * number
        found: int = struct.unpack_from("<H", data, table - back + slot)[0] if slot < size else 0
        return table + found if found else 0

    [message] = struct.unpack_from("<I", data)
    header = entry(message, 2)
    batch = header + struct.unpack_from("<I", data, header)[0]
    return bool(entry(batch, 3))


def _all_between(numbers: np.ndarray, least: float) -> bool:
    return bool(((numbers >= least) & (numbers < np.inf)).all())
