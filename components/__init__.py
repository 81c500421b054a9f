"""Everything that touches Gradio: widgets and their glue; knows neither the model nor the conversation."""
