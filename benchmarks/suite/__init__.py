"""The benchmarks of `deepfake-triton bench`, one module each: options, measurement, result, table, plot."""
