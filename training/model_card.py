"""Writes a checkpoint's README: what it can do, its measured figures, limits, data and licence."""

from pathlib import Path
from typing import Any

# Key of the evaluation's JSON line -> what it is, in the card's table.
FIGURES = {
    "typed": "typed questions, all skills",
    "spoken": "questions spoken by unseen voices of known accents",
    "spoken_rooms": "the same through rooms, noise and cheap microphones",
    "spoken_other_synth": "questions by Festival and Flite's kal, other sentences than in the last steps of training",
    "spoken_ked": "of these, the voice that is least like any heard in training (ked)",
    "image": "questions about drawn pictures",
    "image_camera": "questions about webcam-like pictures",
    "image_spoken": "spoken questions about drawn pictures",
    "image_two": "questions that compare two pictures",
    "video": "questions about clips, with sound",
    "av_order": "of these, whether a word came before or after a change in the picture",
    "memory": "what was said or shown earlier, over several turns",
    "speech_vs_ceiling": "replies understood by a recognizer, share of the original voice's words, worst voice",
    "open_text_vs_ceiling": "plain English read aloud, general recognizer, share of the original voice's, worst voice",
    "speech_to_speech": "spoken question, spoken answer, right as the recognizer heard it",
    "voice_identity": "the nearest original speaker is the chosen one",
    "rtf": "streamed, one CPU thread: seconds of work per second of speech",
    "size_mb": "megabytes on disk",
}

HEAD = """---
license: apache-2.0
language: [en]
library_name: transformers
pipeline_tag: any-to-any
tags: [qwen2_5_omni, speech, vision, tiny]
---

# A micro Qwen2.5-Omni

The architecture and classes of Qwen2.5-Omni with 14 million parameters, trained from nothing on synthesized data, on
two CPU cores. It hears, sees, answers and speaks within a small world, so that a page which talks to the published
checkpoints can be tried and tested on any laptop. It holds no weight of the published models.

{early}## What it can do

Typed, spoken, and mixed over turns, in English:

- greetings, who it is, what it can do; adding and subtracting, comparing, counting, what comes before and after;
  opposites, days and months, spelling and letters, saying again what was said; a few facts;
- remember over turns: your name, your favourite colour, what you asked, what you showed;
- pictures of coloured shapes: which, how many, how large, where; digits; two pictures compared;
- clips of moving and changing shapes, and a word spoken in their sound track: before or after;
- speak its replies, and plain English sentences given to it, in three voices: {voices}.

Outside of this it says that it does not know.

## Figures

"""

TAIL = """
All on data that training never saw, which `training/domain/split.py` and the other splits mark by rule, through the
page's own engine, greedy, the whole answer right. "Original" is the synthesizer's recording of the same text.
Measured by `python -m training.evaluate` on the weights as stored here.

Festival's voices and Flite's kal are the strangers of this project. The version before these weights had never heard
them and answered 0.707 of their questions, 0.433 of ked's; the last steps of training heard them too, since people's
voices are stranger still.

## Use

```python
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

model = Qwen2_5OmniForConditionalGeneration.from_pretrained("assets/micro", dtype="float32")
processor = Qwen2_5OmniProcessor.from_pretrained("assets/micro")
```

`generate()` takes no settings of a turn from `generation_config.json`; the page does. For the same answers pass
`talker_do_sample`, `token2wav_num_steps` and the others that stand there, `speaker="{voice}"`, the system prompt of
the published model, and `size=processor.video_processor.size` where clips go in: the library's own minimum is larger
than what this model was trained on.

## Limits

A closed domain: it knows some thousand words, simple grammar, drawn shapes. It was trained on synthetic speech only,
so human voices, strong accents and noisy rooms are understood less well than the figures say. Photographs of anything
but plain shapes on plain ground mean nothing to it. Within its world it errs most often where it has to compare before
it names (whether two pictures show the same, how many of a kind there are), in saying again what was spoken earlier,
and in reading aloud plain English, of which about every second word is understood. It must not be relied on for
anything.

## Data

All made by `training/`: questions and replies from templates, spoken by espeak-ng and Flite in simulated rooms;
pictures and clips drawn; WordNet's example sentences read by Flite's voices slt, rms and awb (of the CMU ARCTIC
recordings), which its three voices imitate. No recording of a person who talks to a machine, no photograph, no text
from the web.

## Licence

The weights: Apache 2.0; see LICENSE. The model classes and the architecture are those of Qwen2.5-Omni (Apache 2.0).
"""

LICENSE = """\
The weights, configuration and tokenizer in this folder were made by this project from data of its own making and are
licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0

Sources of that data, used but not contained: espeak-ng (GPL-3.0, as a program), Flite and Festival with their voices
(BSD-like, Carnegie Mellon University and University of Edinburgh; CMU ARCTIC), WordNet 3.0 (WordNet licence, Princeton
University). The special tokens and the chat template follow Qwen2.5-Omni (Apache License 2.0).
"""


# Below these figures a part errs too often to be relied on within its small world.
WEAK = {"spoken": (0.8, "its ears"), "image": (0.8, "its eyes"), "speech_vs_ceiling": (0.8, "its speech")}


def early(figures: dict[str, Any]) -> str:
    """A warning that names the weak parts; empty when there are none."""
    weak = [part for key, (least, part) in WEAK.items() if figures.get(key, 1.0) < least]
    if not weak:
        return ""
    return f"**An early version.** What errs often: {' and '.join(weak)}. Read the figures.\n\n"


def write(folder: Path, voices: tuple[str, ...], figures: dict[str, Any] | None) -> None:
    """README.md and LICENSE; without figures the table says that they are not measured yet."""
    names = ", ".join(voices)
    text = HEAD.format(voices=names, early=early(figures or {})) + table(figures) + TAIL.format(voice=voices[0])
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENSE, encoding="utf-8")


def table(figures: dict[str, Any] | None) -> str:
    if not figures:
        return "Not measured yet.\n"
    rows = ["| | figure | of |", "|---|---|---|"]
    counts = figures.get("num", {})
    for key, meaning in FIGURES.items():
        if figures.get(key) is not None:
            rows.append(f"| {meaning} | {figures[key]:g} | {counts.get(key, '')} |")
    return "\n".join(rows) + "\n"
