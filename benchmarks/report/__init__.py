"""Results as JSON, tables, plots and performance targets."""
