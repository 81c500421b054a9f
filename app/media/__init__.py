"""Uploaded and recorded files to plain samples and pixels, within limits; knows no model and no page."""
