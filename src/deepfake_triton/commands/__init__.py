"""Subcommands that belong to no single part, and the options of those that take an extra."""
