"""Shared memory of clients and servers on one host: access key, region names, region owners."""
