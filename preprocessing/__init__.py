"""Pure functions on arrays from video bytes to face crops, shared by client, server, export and training."""
