"""The tritonserver process: its start, its files, its log, its connections, and what goes wrong with it."""
