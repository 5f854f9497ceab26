"""Sharing on the Hugging Face Hub: the model card, the upload, and one-line errors."""
