"""The ways in: what people record, film and upload becomes the contents of a turn; knows no session.

Each tab is a builder and a function from its values to contents; another way of capturing replaces such a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.types.turn import FileInput, TextInput, TurnInput
from components.live import build_live
from components.texts import i18n

UPLOAD_TYPES = ["image", "audio", "video"]


@dataclass(frozen=True)
class CaptureTabs:
    """`all` in the order that `turn_input` reads."""

    tabs: gr.Tabs
    upload: gr.File
    clip: gr.Video
    snapshot: gr.Image
    microphone: gr.Audio
    live: gr.HTML

    @property
    def all(self) -> list[gr.components.Component]:
        return [self.upload, self.clip, self.snapshot, self.microphone]


def build_tabs() -> CaptureTabs:
    with gr.Tabs(selected="text", elem_id="ways-in") as tabs:
        with gr.Tab(i18n("tab_text"), id="text", elem_id="tab-text"):
            gr.HTML("", elem_id="text-only", visible="hidden")
        with gr.Tab(i18n("tab_live"), id="live", elem_id="tab-live", render_children=True):
            live = build_live()
        with gr.Tab(i18n("tab_microphone"), id="microphone", elem_id="tab-microphone"):
            microphone = build_microphone()
        with gr.Tab(i18n("tab_webcam"), id="webcam", elem_id="tab-webcam"):
            clip, snapshot = build_webcam()
        with gr.Tab(i18n("tab_upload"), id="upload", elem_id="tab-upload"):
            upload = build_upload()
    return CaptureTabs(tabs, upload, clip, snapshot, microphone, live)


def build_microphone() -> gr.Audio:
    return gr.Audio(
        sources=["microphone"],
        type="filepath",
        format="wav",
        label=i18n("microphone_label"),
        editable=False,
        buttons=[],
        elem_id="microphone",
    )


def from_microphone(recording: str | None) -> list[FileInput]:
    return [FileInput(Path(recording), "audio")] if recording else []


def build_webcam() -> tuple[gr.Video, gr.Image]:
    # Mirrored clips would be encoded again on the server: writing in the picture must not be reversed anyway.
    options = gr.WebcamOptions(mirror=False)
    mode = gr.Radio(
        [(i18n("webcam_clip"), "clip"), (i18n("webcam_snapshot"), "snapshot")],
        value="clip",
        label=i18n("webcam_mode"),
        show_label=False,
        container=False,
        elem_id="webcam-mode",
    )
    clip = gr.Video(
        sources=["webcam"],
        webcam_options=options,
        include_audio=True,
        label=i18n("webcam_label"),
        buttons=[],
        elem_id="webcam-clip",
    )
    snapshot = gr.Image(
        sources=["webcam"],
        webcam_options=options,
        type="filepath",
        format="jpeg",
        label=i18n("snapshot_label"),
        buttons=[],
        visible=False,
        elem_id="webcam-snapshot",
    )
    mode.change(
        lambda chosen: (gr.update(visible=chosen == "clip"), gr.update(visible=chosen == "snapshot")),
        mode,
        [clip, snapshot],
        show_progress="hidden",
        api_visibility="private",
        queue=False,
    )
    return clip, snapshot


def from_webcam(clip: str | None, snapshot: str | None) -> list[FileInput]:
    return [FileInput(Path(path), kind) for path, kind in ((clip, "video"), (snapshot, "image")) if path]


def build_upload() -> gr.File:
    return gr.File(
        file_count="multiple",
        file_types=UPLOAD_TYPES,
        type="filepath",
        label=i18n("upload_label"),
        height=150,
        elem_id="upload",
    )


def from_upload(paths: Sequence[str] | None) -> list[FileInput]:
    return [FileInput(Path(path)) for path in paths or ()]


def turn_input(text: str, captured: Sequence, use_video_sound: bool) -> TurnInput:
    """One message: what was attached, in the order of the tabs, then the text as it was typed."""
    upload, clip, snapshot, microphone = captured
    files = [*from_upload(upload), *from_webcam(clip, snapshot), *from_microphone(microphone)]
    words = [TextInput(text)] if text.strip() else []
    return TurnInput((*files, *words), bool(use_video_sound))


def without(captured: Sequence, place: int | None) -> list:
    """The tabs' values less the file at `place`, counted as `turn_input` counts them; the same where there is none."""
    upload, *others = captured
    uploads, left = list(upload or ()), list(others)
    if place is not None and 0 <= place < len(uploads):
        return [uploads[:place] + uploads[place + 1 :] or None, *left]
    full = [index for index, path in enumerate(left) if path]
    if place is not None and 0 <= place - len(uploads) < len(full):
        left[full[place - len(uploads)]] = None
    return [upload, *left]
