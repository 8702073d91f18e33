"""Uploads: spool files without a name, multipart bodies, videos fetched from a URL."""
