"""Synthesized users: many voices of several synthesizers, in rooms, through cheap microphones."""
