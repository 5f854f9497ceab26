"""The study of the method: methods, training runs, ground truth that only rendered data can give, report."""
