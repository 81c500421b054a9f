"""The speaking half: recorded voices, codec, flow-matching DiT and BigVGAN; knows neither Thinker nor Talker."""
