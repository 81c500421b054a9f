"""What the micro checkpoint can do, measured on what training never saw."""
