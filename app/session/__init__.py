"""One conversation and the keeper of many; knows neither the page nor how a model computes."""
