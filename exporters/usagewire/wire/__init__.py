"""Wire formats of our own; the code below is generated from `proto/` by `make proto`."""
