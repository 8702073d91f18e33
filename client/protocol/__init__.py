"""The client protocol without I/O: flows, retries, endpoints, request slots, shared-memory leases."""
