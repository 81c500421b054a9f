"""The program without a page: importable, testable and usable headless; it never imports Gradio."""
