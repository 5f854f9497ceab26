"""Training: arguments, trainer, recipes."""
