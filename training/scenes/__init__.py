"""Pictures and clips that are drawn for training, with questions about them and the right replies."""
