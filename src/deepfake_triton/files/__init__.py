"""Files on disk: atomic writes, hashes, outputs of commands, and names that are not the user's own."""
