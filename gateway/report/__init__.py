"""Reports for people: a self-contained HTML file and a CSV table of verdicts."""
