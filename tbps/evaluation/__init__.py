"""Encoding many images and texts, retrieval metrics, evaluating a checkpoint."""
