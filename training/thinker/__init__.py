"""The Thinker: language model, audio tower and vision tower, trained apart and then together."""
