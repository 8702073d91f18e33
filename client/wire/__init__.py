"""Messages to and from Triton: tensors, errors, transports, tracing, request log."""
