"""The method study: methods, training runs, ground truth from rendered people, report."""
