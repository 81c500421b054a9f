"""Trains the micro checkpoint from nothing: data by synthesis, every stage of the published recipe at a small scale."""
