"""Subcommands of training: dataset, train, evaluate, calibrate, card, forge."""
