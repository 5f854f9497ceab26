"""Facts about the files of a gallery, taken from its manifest."""

from tbps.gallery.folder.faiss_index import pays
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.store import FileInfo, IndexInfo


def file_info(manifest: Manifest) -> FileInfo:
    """Describe the files that a manifest names."""
    entries = [entry for entry in (*manifest.shards, manifest.index) if entry is not None]
    return FileInfo(
        removed=sum(len(shard.removed) for shard in manifest.shards),
        files=len(manifest.files()),
        bytes=sum(entry.size for entry in entries),
        tbps_version=manifest.tbps_version,
        index=_index_info(manifest),
    )


def _index_info(manifest: Manifest) -> IndexInfo | None:
    entry = manifest.index
    if entry is None:
        return None
    return IndexInfo(
        images=entry.held,
        nlist=entry.lists,
        nprobe=entry.probes,
        recall=entry.recall,
        target_recall=entry.target_recall,
        queries=entry.queries,
        is_used=pays(entry, manifest.left_of_indexed),
    )
