"""Makes the files in assets/samples that the page offers with a micro checkpoint; `python -m training.samples`.

Each shows one skill. What goes with a file (a typed question, or the words that are spoken in it) is in samples.json,
in the order in which the page shows them.
"""

import argparse
import json
import random
import shutil
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from training.scenes import camera, clips, pictures
from training.scenes.clips import Story
from training.scenes.things import Scene, Thing
from training.voices.synthesizers import espeak, flite

SHIPPED = Path("assets/samples")
SAMPLE_RATE = 16_000
# As a camera gives them, larger than what a checkpoint's own limits leave of it.
GRID = (12, 16)
ASPECT = 4 / 3
CLIP_FPS = 10
CLIP_S = 4.0

RED_CIRCLE = Scene((Thing("red", "circle", 0.5, 0.5, 0.3),), ASPECT)
TWO_SHAPES = Scene((Thing("green", "triangle", 0.24, 0.55, 0.17), Thing("blue", "star", 0.68, 0.5, 0.34)), ASPECT)
HEART = Thing("yellow", "heart", 0.5, 0.5, 0.3)


@dataclass(frozen=True)
class Sample:
    """`text`: the typed question that goes with the files. `said`: what is asked in a file of sound."""

    files: tuple[str, ...]
    text: str = ""
    said: str = ""


SAMPLES = (
    Sample(("red_circle.png",), text="What do you see?"),
    Sample(("two_shapes.png",), text="Which is bigger?"),
    Sample(("webcam.jpg",), text="What is this?"),
    Sample(("moving.mp4",), text="Which way does it move?"),
    Sample(("word_and_change.mp4",), text="What came first, the word or the change?"),
    Sample(("twelve_plus_five.wav",), said="what is twelve plus five"),
    Sample(("two_shapes.png", "where_is_the_star.wav"), said="where is the star"),
)


def write_samples(folder: Path) -> None:
    """All files in place of what `folder` holds; the same ones every time."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_picture(partial / "red_circle.png", RED_CIRCLE, seed=0)
    _write_picture(partial / "two_shapes.png", TWO_SHAPES, seed=5)
    Image.fromarray(held_up(HEART, seed=4)).save(partial / "webcam.jpg", quality=88)
    _write_clip(partial / "moving.mp4", moving(), seed=6)
    _write_clip(partial / "word_and_change.mp4", word_and_change(), seed=8)
    _write_sound(partial / "twelve_plus_five.wav", flite("what is twelve plus five", "rms"))
    _write_sound(partial / "where_is_the_star.wav", espeak("where is the star", "en-us"))
    entries = [{key: value for key, value in vars(sample).items() if value} for sample in SAMPLES]
    (partial / "samples.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def moving() -> Story:
    """A square goes to the right, silently."""
    square = Thing("blue", "square", 0.0, 0.5, 0.18)
    places = np.linspace(0.18, 0.82, round(CLIP_S * CLIP_FPS))
    frames = tuple((replace(square, x=float(x)),) for x in places)
    return Story("move", square, frames, motion="right")


def word_and_change() -> Story:
    """Somebody says a word, and a second after it a red circle turns green."""
    circle = Thing("red", "circle", 0.5, 0.5, 0.28)
    at, num_frames = round(2.5 * CLIP_FPS), round(CLIP_S * CLIP_FPS)
    frames = tuple((circle if index < at else replace(circle, colour="green"),) for index in range(num_frames))
    return Story("change", circle, frames, at=at, to="green", word="hello", word_start_s=0.5)


def held_up(thing: Thing, seed: int) -> np.ndarray:
    """Somebody holds a sheet with the thing on it into a webcam: uint8 `[height, width, 3]`."""
    generator = random.Random(seed)
    while True:
        shot = camera.draw_shot(generator, ASPECT, num_shapes=1)
        paper = Scene((thing,), shot.paper_aspect)
        if shot.on_paper and camera.seen(paper, shot, ASPECT) is not None:
            return camera.photograph(generator, "train", paper, shot, GRID, ASPECT)


def _write_picture(path: Path, scene: Scene, seed: int) -> None:
    pixels = pictures.render(random.Random(seed), "train", scene, GRID)
    Image.fromarray(pixels).save(path, optimize=True)


def _write_sound(path: Path, wave: np.ndarray) -> None:
    """A little silence around the words, as a person leaves it."""
    pause = np.zeros(SAMPLE_RATE // 5, np.float32)
    soundfile.write(path, np.concatenate((pause, wave, pause)), SAMPLE_RATE, subtype="PCM_16")


def _write_clip(path: Path, story: Story, seed: int) -> None:
    """H.264 and AAC, which every browser plays."""
    frames = clips.render(random.Random(seed), "train", story, GRID, ASPECT)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as output:
        video = output.add_stream("libx264", rate=CLIP_FPS, options={"crf": "20", "preset": "slow"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if story.word else None
        for frame in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(video.encode(None))
        if audio is not None:
            wave = np.zeros(round(CLIP_S * SAMPLE_RATE), np.float32)
            said, start = flite(story.word, "slt"), round(story.word_start_s * SAMPLE_RATE)
            wave[start : start + len(said)] = said
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.time_base, sound.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
            resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE, frame_size=audio.frame_size or 1024)
            for piece in [*resampler.resample(sound), *resampler.resample(None)]:
                output.mux(audio.encode(piece))
            output.mux(audio.encode(None))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.samples", description=__doc__)
    parser.add_argument("--to", type=Path, default=SHIPPED, help="where the files go, replacing what is there")
    write_samples(parser.parse_args(arguments).to)


if __name__ == "__main__":
    main()
