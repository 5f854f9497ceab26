"""Pre-training corpora: convert their files to parquet shards with the images inside, and stream the shards."""

# the names in tbps.data.corpora.formats, which is slow to import
FORMAT_NAMES = ("mals", "synth-pedes", "luperson-mllm", "webperson")
