"""I/O of the client: gRPC connections, and the two senders that carry out the steps of a flow."""
