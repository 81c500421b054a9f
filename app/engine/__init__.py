"""The three parts of the model as one streaming engine: a turn goes in, events come out; knows no page and no file."""
