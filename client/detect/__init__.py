"""The command `deepfake-triton detect`: inputs, batch, results file."""
