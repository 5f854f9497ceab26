"""The commands of `tbps`, a module for each group of them."""
