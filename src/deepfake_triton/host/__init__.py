"""This machine: network addresses, processor and processes."""
