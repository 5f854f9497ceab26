"""Data sets: benchmarks, pre-training corpora, rendered people, and the pairs that training reads."""
