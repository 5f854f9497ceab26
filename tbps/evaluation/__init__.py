"""Encoding of many images and texts, retrieval metrics, evaluation of a checkpoint."""
