"""Turns to token ids and features in ChatML, only what the newest turn adds; knows no weights."""
