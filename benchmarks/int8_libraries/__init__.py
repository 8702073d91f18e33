"""INT8 of this project beside the quantization libraries, on the same labeled clips."""
