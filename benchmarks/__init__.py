"""Measurements of `app`; never imported by it."""
