"""REST under /v1: detect, jobs, event streams, problem details, OpenAPI."""
