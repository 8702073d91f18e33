"""TensorRT engines: built, recorded, and added to a repository."""
