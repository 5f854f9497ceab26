"""Sharing on the Hugging Face Hub: model card, what is uploaded, errors in one line."""
