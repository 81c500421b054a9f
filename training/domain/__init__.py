"""What the micro model can talk about: messages with their right replies, without end; knows no sound, no model."""
