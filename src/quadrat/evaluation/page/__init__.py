"""The report of eval: one HTML page that opens anywhere."""
