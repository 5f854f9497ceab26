"""What becomes of a gallery whose files somebody changed: `python -m tests.fuzz_gallery 5000 [SEED]` prints a tally.

A small gallery is changed in one way at a time, and then asked everything; then `tbps gallery repair` is run, after
which there must be no fault left, or it says that nothing is left. What may come out of it:

    same     the answers are those of the gallery as it was
    named    a GalleryError
    changed  other answers, without an error: right only where the change was one of data with a right checksum, which
             is then simply another gallery's data ("payload")
    raw      any other exception
    died     the process crashed, hung or asked for all memory
    broken   a gallery that is still unusable after it was repaired, or has rows that it never had

The changes are made in processes of their own, which are replaced when they die.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tbps.fingerprint import ModelIdentity
from tbps.gallery.blocks import block_checksums
from tbps.gallery.errors import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.home import MODES, Row, Wanted
from tbps.gallery.manifest import DTYPES, Layout
from tbps.gallery.repair import repair
from tbps.gallery.shard_file import _seal
from tbps.gallery.store import Store
from tests.forging import forge, places, replaced

WIDTH = 16
ROWS = (9, 8, 14)  # of one tier: nothing joins them
SECONDS = 30  # until a change counts as one that hangs
MEMORY = 2 << 30  # bytes beyond what the process has at first
HOSTILE = [None, True, False, 0, 1, -1, 2, 7, 23, 24, 1 << 31, 1 << 63, 10**400, 0.5, float("nan"), float("inf"), "",
           "x", "../x", "shard-000000.arrow", "shard-000009.arrow", "index-000003.faiss", "0" * 16, [], {}, [0], [[]],
           {"x": 1}, json.loads("[" * 500 + "]" * 500)]  # fmt: skip


def make_gallery(folder: Path, dtype: Any) -> None:
    """A gallery of three shards, with removed rows, an index, thumbnails and rows without this and that."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((sum(ROWS), WIDTH)).astype(np.float32)
    store = Store.open(folder, ModelIdentity("a model", "f" * 32, WIDTH), Layout(dtype, 8, 2, 4))
    rows = [
        Row(f"{n:032x}", f"/a/{n}.png" if n % 3 else None, json.dumps({"n": n, "é": "ü" * (n % 4)}),
            f"c{n % 2}" if n % 5 else None, float(n) if n % 4 else None, None, bytes(n) if n % 2 else None)
        for n in range(len(vectors))
    ]  # fmt: skip
    with store.writing():
        start = 0
        for count in ROWS:
            store.append(rows[start : start + count], vectors[start : start + count])
            start += count
        store.remove([rows[n].id for n in (3, 12, 20)])
        store.build_index(lists=2, progress=False)


def answers(folder: Path) -> str:
    """All that can be asked of a gallery."""
    store = Store.read(folder)
    queries = np.random.default_rng(1).standard_normal((2, WIDTH)).astype(np.float32)
    found: list[Any] = [store.count(), sorted(store.known([f"{n:032x}" for n in range(30)]))]
    found.append(
        [[repr(row), np.round(vector, 4).tolist()] for rows, vectors in store.scan()
         for row, vector in zip(rows, vectors, strict=True)]
    )  # fmt: skip
    wanted = [Wanted(4, filter=Filter(camera="c1", metadata={"é": "ü"}, since=3.0, until=20.0))]
    modes = ["exact" if mode == "index" and store.manifest.index is None else mode for mode in MODES]
    wanted += [Wanted(4, mode, 30, probes=2) for mode in modes]  # all lists: as exact as the others
    for one in wanted:
        best = store.search(queries, one)
        found.append([[(each.row.id, round(each.score, 4)) for each in row] for row in best])
    store.check(progress=False)
    return json.dumps(found)


class Mutator:
    """Changes of a gallery's files, drawn by a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.files = sorted(path for path in folder.iterdir() if path.stat().st_size)

    def change(self) -> str:
        """Make one; what it is called."""
        kinds = [self.flip, self.cut, self.grow, self.swap, self.delete, self.duplicate, self.blank, self.special,
                 self.field, self.field, self.field, self.arrow, self.arrow, self.arrow, self.faiss]  # fmt: skip
        kind = kinds[self.rng.integers(len(kinds))]
        kind()
        return kind.__name__

    def one(self, files: list[Path] | None = None) -> Path:
        files = files or self.files
        return files[int(self.rng.integers(len(files)))]

    def flip(self) -> None:
        path = self.one()
        path.write_bytes(self.altered(path.read_bytes()))

    def altered(self, data: bytes, end: int | None = None) -> bytes:
        """Some of the bytes before `end` are others."""
        changed = bytearray(data)
        for _ in range(int(self.rng.integers(1, 4))):
            place = int(self.rng.integers(min(len(data), end or len(data))))
            value = [changed[place] ^ 1 << int(self.rng.integers(8)), 0, 255, 127, 128][int(self.rng.integers(5))]
            changed[place] = value
        return bytes(changed)

    def cut(self) -> None:
        path = self.one()
        path.write_bytes(path.read_bytes()[: int(self.rng.integers(path.stat().st_size))])

    def grow(self) -> None:
        path = self.one()
        path.write_bytes(path.read_bytes() + self.rng.bytes(int(self.rng.integers(1, 300))))

    def swap(self) -> None:
        one, other = self.one(), self.one()
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)

    def delete(self) -> None:
        self.one().unlink()

    def duplicate(self) -> None:
        data = self.one().read_bytes()
        (self.folder / f"shard-{self.rng.integers(12):06d}.arrow").write_bytes(data)

    def blank(self) -> None:
        path = self.one()
        data = bytearray(path.read_bytes())
        start = int(self.rng.integers(len(data)))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
        path.write_bytes(data)

    def special(self) -> None:
        """Something that is no file, in its place."""
        path = self.one()
        path.unlink()
        [path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(path.name),
         lambda: path.symlink_to("/nowhere")][int(self.rng.integers(4))]()  # fmt: skip

    def field(self) -> None:
        """A hostile value in the manifest, whose checksum is right. Which rows were removed is no such thing: every
        ascending list of places is one that the gallery could have had."""
        content = json.loads((self.folder / "gallery.json").read_text())
        paths = [path for path in places(content) if path and "removed" not in path[:-1]]
        path = paths[int(self.rng.integers(len(paths)))]
        value = HOSTILE[int(self.rng.integers(len(HOSTILE)))]
        if path[-1] == "removed" and value in ([], [0]):
            value = [0, 0]
        forge(self.folder, replaced(content, path, value))

    def arrow(self) -> None:
        """Other bytes in a shard, mostly where Arrow learns lengths and places, with right checksums."""
        path = self.one([path for path in self.files if path.suffix == ".arrow"])
        self.forged(path, self.altered(path.read_bytes(), 4000 if self.rng.random() < 0.7 else None))

    def faiss(self) -> None:
        """Other bytes in the index, with right checksums."""
        path = self.one([path for path in self.files if path.suffix == ".faiss"])
        self.forged(path, self.altered(path.read_bytes()))

    def forged(self, path: Path, data: bytes) -> None:
        if path.suffix == ".arrow" and self.rng.random() < 0.5:
            data = sealed(path.read_bytes(), data)
        path.write_bytes(data)
        content = json.loads((self.folder / "gallery.json").read_text())
        for entry in (*content["shards"], content["index"]):
            if entry["file"] == path.name:
                entry.update(size=len(data), checksums=block_checksums(data))
        forge(self.folder, content)


def sealed(data: bytes, changed: bytes) -> bytes:
    """The changed bytes of a shard with the checksum in it that they ought to have, where its place is still there."""
    stream = pa.BufferReader(data)
    seal = pa.ipc.read_schema(stream).metadata[b"tbps.seal"]
    head, rest = changed[: stream.tell()], changed[stream.tell() :]
    return head.replace(seal, _seal(head.replace(seal, b"\xff" * 16), rest)) + rest


PAYLOAD = ("arrow", "faiss")  # changes that may be of data alone
OUTCOMES = ("same", "named", "changed", "raw", "died", "broken")


def outcome(folder: Path, name: str, expected: str, with_repair: bool) -> tuple[str, str]:
    """What became of it, and what was said."""
    said = ""
    try:
        became = "same" if answers(folder) == expected else "changed"
    except GalleryError as error:
        became, said = "named", str(error)
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    fault = after_repair(folder, name, expected) if with_repair and became != "same" else None
    return (became, said) if fault is None else ("broken", fault)


def after_repair(folder: Path, name: str, expected: str) -> str | None:
    """What is still wrong after a repair."""
    shards = list(folder.glob("*.arrow"))
    try:
        repair(folder)
    except GalleryError:
        return None
    except Exception as error:
        return f"repair: {type(error).__name__}: {error}"
    try:
        rows = [json.dumps(row) for row in json.loads(answers(folder))[2]]
    except Exception as error:
        data_alone = isinstance(error, GalleryError) and name in PAYLOAD
        return None if data_alone else f"after the repair: {type(error).__name__}: {error}"
    strange = [row for row in rows if row not in expected and name not in PAYLOAD]
    if [path.name for path in shards if not any(os.path.lexists(f"{path}{ending}") for ending in ("", ".damaged"))]:
        return "the repair lost a shard"
    return f"rows that never were there: {strange}" if strange else None


def work(start: int, stop: int, seed: int, repairs: int) -> None:
    """Make the changes of some numbers, and print a line for each before and after it."""
    usage = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (usage + MEMORY, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as base:
        originals = [Path(base, dtype) for dtype in DTYPES]
        for path, dtype in zip(originals, DTYPES, strict=True):
            make_gallery(path, dtype)
        expected = [answers(path) for path in originals]
        for number in range(start, stop):
            kind = number % len(DTYPES)
            copy = Path(base, f"copy{number}")
            shutil.copytree(originals[kind], copy)
            name = Mutator(copy, seed + number).change()
            print(json.dumps([number, name]), flush=True)
            signal.alarm(SECONDS)
            print(json.dumps([number, name, *outcome(copy, name, expected[kind], number % repairs == 0)]), flush=True)
            signal.alarm(0)
            shutil.rmtree(copy)


def run(count: int, seed: int = 0, repairs: int = 1) -> list[tuple[int, str, str, str]]:
    """All changes: number, name, what became of it, what was said; after one in `repairs` of them a repair."""
    done: dict[int, tuple[int, str, str, str]] = {}
    while len(done) < count:
        numbers = map(str, (len(done), count, seed, repairs))
        command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz_gallery", "--work", *numbers]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        done |= {line[0]: tuple(line) for line in lines if len(line) == 4}
        if ended.returncode:
            if not lines or len(lines[-1]) == 4:
                raise RuntimeError(ended.stderr[-3000:])
            done[lines[-1][0]] = (*lines[-1], "died", f"exit {ended.returncode}: {ended.stderr[-300:]}")
    return [done[number] for number in sorted(done)]


def is_right(result: tuple[int, str, str, str]) -> bool:
    """Whether a change was answered as it should be."""
    _, name, became, _ = result
    return became in ("same", "named") or (became == "changed" and name in PAYLOAD)


def tally(results: list[tuple[int, str, str, str]]) -> str:
    """A line for each kind of change."""
    counts = Counter((name, became) for _, name, became, _ in results)
    lines = [f"{'':12}" + "".join(f"{one:>9}" for one in OUTCOMES)]
    for name in [*sorted({name for name, _ in counts}), "all"]:
        numbers = [sum(n for (a, b), n in counts.items() if b == one and name in (a, "all")) for one in OUTCOMES]
        lines.append(f"{name:12}" + "".join(f"{number:9}" for number in numbers))
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work(*map(int, sys.argv[2:]))
    else:
        results = run(*map(int, sys.argv[1:]))
        print(tally(results))
        wrong = [result for result in results if not is_right(result)]
        print(*wrong[:50], sep="\n")
        sys.exit(bool(wrong))
