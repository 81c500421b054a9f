"""The Talker's training: from the Thinker's states to codec tokens, three stages."""
