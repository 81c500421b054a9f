"""The maker of the samples: what it writes is what the page reads."""

from pathlib import Path

import av
import numpy as np

from components.examples import load_examples
from training import samples


def test_the_page_reads_what_the_maker_writes(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "old.png").write_bytes(b"")
    samples.write_samples(folder)
    read = load_examples(folder).samples
    assert [tuple(path.name for path in one.files) for one in read] == [one.files for one in samples.SAMPLES]
    named = {path.name for one in read for path in one.files}
    assert {path.name for path in folder.iterdir()} == named | {"samples.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 600_000


def test_the_word_is_over_a_second_before_the_change(tmp_path: Path) -> None:
    story = samples.word_and_change()
    samples._write_clip(tmp_path / "clip.mp4", story, seed=0)
    with av.open(str(tmp_path / "clip.mp4")) as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    with av.open(str(tmp_path / "clip.mp4")) as file:
        colours = np.array([frame.to_ndarray(format="rgb24")[168, 224] for frame in file.decode(video=0)], int)
    heard_s = np.flatnonzero(np.abs(sound) > 0.02)[[0, -1]] / samples.SAMPLE_RATE
    is_red = colours[:, 0] > colours[:, 1]
    changes_s = np.flatnonzero(np.diff(is_red)) / samples.CLIP_FPS
    assert 0.4 < heard_s[0] and len(changes_s) == 1 and heard_s[1] + 1.0 < changes_s[0], (heard_s, changes_s)
    assert is_red[0]
