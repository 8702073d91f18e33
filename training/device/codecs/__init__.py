"""JPEG and a frame as of H.264, on the device: what compression does to pictures, without bit streams."""
