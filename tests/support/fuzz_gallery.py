"""Random changes to the files of a gallery: `python tests/support/fuzz_gallery.py 5000 [SEED]` prints a tally.

A small gallery gets one change at a time and is then asked every question. After that it is repaired: no fault may
remain, unless the repair reports that nothing can be restored. The outcomes are:

    same     all answers are unchanged
    named    some questions end in a GalleryError, and the other answers are unchanged
    changed  an answer differs; acceptable only if data were changed together with their checksum, because they are then
             the data of another valid gallery; a changed index may change only the answers that it decides
    raw      any other exception
    died     the process crashed, hung or allocated too much memory
    broken   the gallery is still unusable after its repair, or has rows that it never had

The changes are made in other processes, which are replaced when they die.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from forging import forge, places, replaced

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.checked_file import block_checksums
from tbps.gallery.folder.repair import repair
from tbps.gallery.folder.shard_file import seal as seal_of
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import DTYPES, MODES, Layout, Row, SearchRequest

WIDTH = 16
ROWS = (9, 8, 14)  # of one level, so that commits do not merge them
SECONDS = 30  # after which a process counts as hanging
MEMORY = 2 << 30  # bytes that a process may allocate after its start
HOSTILE = [None, True, False, 0, 1, -1, 2, 7, 23, 24, 1 << 31, 1 << 63, 10**400, 0.5, float("nan"), float("inf"), "",
           "x", "../x", "shard-000000.arrow", "shard-000009.arrow", "index-000003.faiss", "0" * 16, [], {}, [0], [[]],
           {"x": 1}, json.loads("[" * 500 + "]" * 500)]  # fmt: skip


def make_gallery(folder: Path, dtype: Any) -> None:
    """Make a gallery of three shards, with removed rows, an index, thumbnails and rows that lack some fields."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((sum(ROWS), WIDTH)).astype(np.float32)
    store = FolderStore.open(folder, ModelIdentity("a model", "f" * 32, WIDTH), Layout(dtype, 8, 2, 4))
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
        store.build_index(nlist=2, progress=False)


Answers = dict[str, str | None]


def questions(store: FolderStore) -> dict[str, Callable[[], Any]]:
    """The questions that a gallery is asked."""
    queries = np.random.default_rng(1).standard_normal((2, WIDTH)).astype(np.float32)
    filtered = Filter(camera="c1", metadata={"é": "ü"}, since=3.0, until=20.0)

    def best(request: SearchRequest) -> list[Any]:
        return [[(each.row.id, round(each.score, 4)) for each in row] for row in store.search(queries, request)]

    def rows() -> list[Any]:
        return [[repr(row), np.round(vector, 4).tolist()] for rows, vectors in store.scan()
                for row, vector in zip(rows, vectors, strict=True)]  # fmt: skip

    modes = [mode for mode in MODES if mode != "index" or store.manifest.index]
    return {
        "count": store.count,
        "known": lambda: sorted(store.known([f"{n:032x}" for n in range(30)])),
        "filtered": lambda: best(SearchRequest(4, filter=filtered)),
        **{mode: lambda mode=mode: best(SearchRequest(4, mode, 30, nprobe=2)) for mode in modes},
        "rows": rows,
        "check": lambda: store.check(progress=False),
    }


def answers(folder: Path) -> tuple[Answers, str]:
    """Return the answer to each question, None for a GalleryError, and the first such error. An error in one answer
    does not excuse a wrong answer to another question."""
    found: Answers = {}
    said = ""
    try:
        asked = questions(FolderStore.read(folder))
    except GalleryError as error:
        return found, str(error) or "an error without words"
    for name, question in asked.items():
        try:
            found[name] = json.dumps(question())
        except GalleryError as error:
            found[name] = None
            said = said or str(error) or "an error without words"
    return found, said


class Mutator:
    """Random changes to the files of a gallery, drawn by a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.files = sorted(path for path in folder.iterdir() if path.stat().st_size)

    def change(self) -> str:
        """Make a change and return its name."""
        kinds = [self.flip, self.cut, self.grow, self.swap, self.delete, self.duplicate, self.blank, self.special,
                 self.digit, *[self.field] * 3, *[self.arrow] * 3, self.faiss]  # fmt: skip
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
        """Change some bytes before `end`."""
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
        """Replace the file by something that is not a regular file."""
        path = self.one()
        path.unlink()
        [path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(path.name),
         lambda: path.symlink_to("/nowhere")][int(self.rng.integers(4))]()  # fmt: skip

    def digit(self) -> None:
        """Change a digit in the manifest, so that its checksum no longer matches."""
        path = self.folder / "gallery.json"
        text = path.read_text()
        digits = [place for place, letter in enumerate(text) if letter.isdigit()]
        place = digits[int(self.rng.integers(len(digits)))]
        other = (int(text[place]) + int(self.rng.integers(1, 10))) % 10
        path.write_text(f"{text[:place]}{other}{text[place + 1 :]}")

    def field(self) -> None:
        """Put a hostile value into the manifest, with a matching checksum. The lists of removed rows stay, because
        every ascending list of positions is valid."""
        content = json.loads((self.folder / "gallery.json").read_text())
        paths = [path for path in places(content) if path and "removed" not in path[:-1]]
        path = paths[int(self.rng.integers(len(paths)))]
        value = HOSTILE[int(self.rng.integers(len(HOSTILE)))]
        if path[-1] == "removed" and value in ([], [0]):
            value = [0, 0]
        forge(self.folder, replaced(content, path, value))

    def arrow(self) -> None:
        """Change bytes in a shard, mostly where Arrow reads lengths and offsets, with matching checksums."""
        path = self.one([path for path in self.files if path.suffix == ".arrow"])
        self.forged(path, self.altered(path.read_bytes(), 4000 if self.rng.random() < 0.7 else None))

    def faiss(self) -> None:
        """Change bytes in the index, with matching checksums."""
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
    """Return the changed bytes of a shard with a matching seal, if the position of the seal is unchanged."""
    stream = pa.BufferReader(data)
    seal = pa.ipc.read_schema(stream).metadata[b"tbps.seal"]
    head, rest = changed[: stream.tell()], changed[stream.tell() :]
    return head.replace(seal, seal_of(head.replace(seal, b"\xff" * 16), rest)) + rest


# the answers that changed data with matching checksums may change: all, or those that only the index decides
PAYLOAD = {"arrow": None, "faiss": {"index"}}
OUTCOMES = ("same", "named", "changed", "raw", "died", "broken")


def outcome(folder: Path, name: str, expected: Answers, with_repair: bool) -> tuple[str, str]:
    """Return the outcome of a change, and the error message or the answers that differ."""
    try:
        found, said = answers(folder)
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    others = [asked for asked, answer in found.items() if answer is not None and answer != expected.get(asked)]
    became, said = ("changed", " ".join(others)) if others else ("named" if said else "same", said)
    fault = after_repair(folder, name, expected) if with_repair and became != "same" else None
    return (became, said) if fault is None else ("broken", fault)


def after_repair(folder: Path, name: str, expected: Answers) -> str | None:
    """Return what is still wrong after a repair."""
    shards = list(folder.glob("*.arrow"))
    try:
        repair(folder)
    except GalleryError:
        return None
    except Exception as error:
        return f"repair: {type(error).__name__}: {error}"
    try:
        found, said = answers(folder)
    except Exception as error:
        return f"after the repair: {type(error).__name__}: {error}"
    if said:
        return None if name in PAYLOAD else f"after the repair: {said}"
    before = [json.dumps(row) for row in json.loads(expected["rows"] or "")]
    strange = [row for row in map(json.dumps, json.loads(found["rows"] or "")) if row not in before]
    if [path.name for path in shards if not any(os.path.lexists(f"{path}{ending}") for ending in ("", ".damaged"))]:
        return "the repair lost a shard"
    return f"rows that never were there: {strange}" if strange and name not in PAYLOAD else None


def work(start: int, stop: int, seed: int, repairs: int) -> None:
    """Make numbered changes, and print a line before and after each."""
    usage = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (usage + MEMORY, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as base:
        originals = [Path(base, dtype) for dtype in DTYPES]
        for path, dtype in zip(originals, DTYPES, strict=True):
            make_gallery(path, dtype)
        expected = [answers(path)[0] for path in originals]
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
    """Make all changes and return number, name, outcome and message of each. Repair after one in `repairs`."""
    done: dict[int, tuple[int, str, str, str]] = {}
    while len(done) < count:
        numbers = map(str, (len(done), count, seed, repairs))
        command = [sys.executable, "-W", "ignore", __file__, "--work", *numbers]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        done |= {line[0]: tuple(line) for line in lines if len(line) == 4}
        if ended.returncode:
            if not lines or len(lines[-1]) == 4:
                raise RuntimeError(ended.stderr[-3000:])
            done[lines[-1][0]] = (*lines[-1], "died", f"exit {ended.returncode}: {ended.stderr[-300:]}")
    return [done[number] for number in sorted(done)]


def is_right(result: tuple[int, str, str, str]) -> bool:
    """Whether the outcome of a change is acceptable."""
    _, name, became, said = result
    if became == "changed" and name in PAYLOAD:
        may = PAYLOAD[name]
        return may is None or set(said.split()) <= may
    return became in ("same", "named")


def tally(results: list[tuple[int, str, str, str]]) -> str:
    """Format a table with a line for each kind of change."""
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
