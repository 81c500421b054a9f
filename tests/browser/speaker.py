"""A microphone into which a test speaks when it likes, and notes of what the player told; all else is the page's own.

Only the device is ours: `getUserMedia` gives the stream of a Web Audio graph, since the file that Chromium can play as
a microphone runs from its start and knows nothing of a reply that it is to interrupt.
"""

import base64

import numpy as np
from playwright.sync_api import Page

# `say` speaks at once, `sayOver` once so many samples of a live reply are heard. `told`: all `omniplayed` events.
SPEAKER_JS = """(() => {
    const context = new AudioContext({ sampleRate: 16000 });
    const line = context.createMediaStreamDestination();
    const devices = navigator.mediaDevices;
    const original = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async (wanted) => (wanted.audio
        ? new MediaStream(line.stream.getTracks().map((track) => track.clone())) : original(wanted));
    const say = (base64) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const samples = Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32767);
        const buffer = context.createBuffer(1, samples.length, 16000);
        buffer.copyToChannel(samples, 0);
        const source = new AudioBufferSourceNode(context, { buffer });
        source.connect(line);
        source.start();
    };
    const told = [];
    let over = null;
    window.addEventListener('omniplayed', ({ detail }) => {
        told.push(detail);
        if (!over || detail.kind !== 'progress' || detail.samples < over.samples) return;
        say(over.base64);
        over = null;
    });
    window.speaker = { say, told, sayOver: (base64, samples) => { over = { base64, samples }; } };
})()"""


def say(page: Page, sound: np.ndarray) -> None:
    page.evaluate("base64 => speaker.say(base64)", _base64(sound))


def say_over(page: Page, sound: np.ndarray, num_samples: int) -> None:
    """As soon as `num_samples` of the next live reply are heard."""
    page.evaluate("([base64, samples]) => speaker.sayOver(base64, samples)", [_base64(sound), num_samples])


def told(page: Page, turn: int) -> list[dict]:
    """What the player told of a live turn, in order: how many samples, how many underruns, and on what occasion."""
    return [one for one in page.evaluate("speaker.told") if one["turn"] == turn]


def _base64(sound: np.ndarray) -> str:
    return base64.b64encode((sound.clip(-1, 1) * 32767).astype("<i2").tobytes()).decode("ascii")
