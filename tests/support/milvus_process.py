"""Programs that open a gallery in Milvus in another process, and the rows that they write."""

import os
import subprocess
import sys

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.metadata import make_row
from tbps.gallery.store import Layout, Row

MODEL = ModelIdentity("a model", "0" * 32, 4)
LAYOUT = Layout("float16", 2, 1, 2)
KILLED = """
import os, signal
from tbps.gallery.milvus.client import Collection
from tbps.gallery.open_store import open_store
from milvus_process import MODEL, LAYOUT, many_rows, new_rows
import numpy as np

call, calls = Collection.call, []

def killing(self, name, **arguments):
    calls.append(name)
    if calls.count("upsert") == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(self, name, **arguments)

Collection.call = killing
open_store({where!r}, MODEL, LAYOUT).append({rows}(), np.ones((1500, 4)))
"""

OPENING = """
from tbps.gallery.open_store import open_store
from milvus_process import MODEL, LAYOUT

open_store({where!r}, MODEL, LAYOUT)
"""


def run_elsewhere(code):
    """Run the code in another process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def many_rows():
    return [Row(f"{n}", None, "{}") for n in range(1500)]


def new_rows():
    return [make_row(f"{n}", None, {"camera": "new"}) for n in range(1500)]
