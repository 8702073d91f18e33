"""Model repositories: their files, the record and signature of them, and the report of each export."""
