"""Small frozen types where stages meet; one file per boundary, no behaviour beyond derived properties."""
