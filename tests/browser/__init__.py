"""Tests of the page in real Chromium; each starts a server of its own or shares one, none touches the network."""
