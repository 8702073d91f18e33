"""Post-training INT8 quantization as Q/DQ graphs."""
