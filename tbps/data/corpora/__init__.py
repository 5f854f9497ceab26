"""Pre-training corpora: their own JSON, sharded parquet with the images inside, and streams over the shards."""
