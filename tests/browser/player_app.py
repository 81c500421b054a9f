"""A page with the player and nothing else: buttons feed it sine waves in the profiles that the tests name.

Run as `python tests/browser/player_app.py PORT`; prints READY when it listens.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import gradio as gr
import numpy as np

from app.types.events import AudioChunk
from components.player import PlaybackReport, PlayerFeed, bind_reports, build_player, stop_value

RATE = 24_000
TONE_HZ = 300


def sine(start: int, num_samples: int, tone_hz: float = TONE_HZ) -> np.ndarray:
    """Continuous over chunks: the phase follows from the sample's index."""
    index = np.arange(start, start + num_samples)
    return (0.5 * np.sin(2 * np.pi * tone_hz * index / RATE)).astype(np.float32)


def speak(plan_text: str) -> Iterator[str]:
    """`plan`: generation, sizes of the chunks in samples, pause before each in seconds, and what goes wrong."""
    plan = json.loads(plan_text)
    feed = PlayerFeed(plan["generation"])
    yield feed.begin()
    start = 0
    for index, size in enumerate(plan["sizes"]):
        time.sleep(plan.get("pauses", {}).get(str(index), plan.get("pause", 0.0)))
        hold_s = plan.get("hold_s", 0.0) if start == 0 else 0.0
        feed.push(AudioChunk(1, 0.0, start, sine(start, size, plan.get("tone_hz", TONE_HZ)), RATE, hold_s))
        start += size
        value = feed.take()
        if index in plan.get("lose", []):
            continue
        yield value
        if index in plan.get("repeat", []):
            yield stop_value(-1)
            yield value
    yield feed.end()


def build() -> gr.Blocks:
    with gr.Blocks() as demo:
        player = build_player()
        plan = gr.Textbox(elem_id="plan", label="plan")
        reports = gr.State([])
        shown = gr.Textbox(elem_id="reports", label="reports", interactive=True)
        read = gr.Button("Read", elem_id="read")
        gr.Button("Speak", elem_id="speak").click(speak, plan, player, concurrency_limit=None, trigger_mode="multiple")
        gr.Button("Stop", elem_id="stop").click(lambda text: stop_value(json.loads(text)["generation"]), plan, player)

        def note(report: PlaybackReport, reports: list[dict]) -> None:
            reports.append(vars(report))

        bind_reports(player, note, [reports])
        read.click(json.dumps, reports, shown)
    return demo


if __name__ == "__main__":
    build().launch(server_port=int(sys.argv[1]), ssr_mode=False, quiet=True, prevent_thread_lock=True)
    print("READY", flush=True)
    sys.stdin.read()
