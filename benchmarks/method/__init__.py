"""The study of the method: contenders, training runs, ground truth that only rendered data can give, report."""
