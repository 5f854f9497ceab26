"""Pre-training corpora: their own JSON, sharded parquet with the images inside, and streams over the shards."""

# of tbps.data.corpora.formats, which takes time to import
FORMAT_NAMES = ("mals", "synth-pedes", "luperson-mllm", "webperson")
