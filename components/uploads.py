"""Which files a browser may name in an event: those that it uploaded and no other; knows no widget and no session."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

REFUSAL = "Only uploaded files can be opened: upload the file instead of giving its place."


class UploadsOnly(gr.Blocks):
    """Blocks that refuse every other file quietly. Gradio alone would fetch a URL in a file's place, and would write
    a trace with the path of a local one into the log."""

    async def preprocess_data(self, block_fn: Any, inputs: list, *options: Any, **named: Any) -> list:
        traverse(inputs, _refuse_strange, is_file_obj_with_meta)
        return await super().preprocess_data(block_fn, inputs, *options, **named)


def _refuse_strange(file: dict) -> dict:
    place = file["path"]
    if is_http_url_like(place) or not Path(place).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error(REFUSAL, print_exception=False)
    return file
