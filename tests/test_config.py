"""Options and flags: what is accepted, what fails and how."""

from pathlib import Path

import pytest

from app.config import Config
from app.errors import BadConfig
from app.flags import parse_flags


def test_no_flags_give_the_defaults():
    assert parse_flags([]) == Config()


def test_every_flag_reaches_its_option():
    config = parse_flags(
        "--checkpoint c --device cpu --dtype float32 --attention sdpa --engine eager --quantize int8 --text-only"
        " --data-dir d --keep-s 5 --max-turns 2 --cache-gb 1.5 --auth a:b:c --auth x:y"
        " --root-path /omni --server-name 0.0.0.0 --server-port 7861 --share"
        " --inbrowser --max-file-mb 1 --max-audio-s 2 --max-video-s 3 --max-text-chars 5 --max-files 6".split()
    )
    assert (config.checkpoint, config.device, config.dtype, config.attention) == ("c", "cpu", "float32", "sdpa")
    assert (config.engine, config.quantize) == ("eager", "int8")
    assert config.text_only and config.share and config.inbrowser
    assert (config.data_dir, config.keep_s, config.max_turns, config.cache_gb) == (Path("d"), 5.0, 2, 1.5)
    assert config.auth == (("a", "b:c"), ("x", "y"))
    assert (config.root_path, config.server_name, config.server_port) == ("/omni", "0.0.0.0", 7861)
    limits = config.limits
    assert (limits.max_file_mb, limits.max_audio_s, limits.max_video_s) == (1, 2, 3)
    assert (limits.max_text_chars, limits.max_files) == (5, 6)


@pytest.mark.parametrize(
    "flags",
    [
        "--unknown",
        "--check c",  # no abbreviations
        "stray",
        "--device tpu",
        "--dtype int8",
        "--attention magic",
        "--engine diesel",
        "--quantize int2",
        "--keep-s -1",
        "--keep-s nan",
        "--keep-s soon",
        "--max-turns 0",
        "--cache-gb -1",
        "--server-port 70000",
        "--server-port http",
        "--root-path omni",
        "--auth nobody",
        "--auth :secret",
        "--auth user:",
        "--auth a:b --auth a:c",
        "--max-files 0",
        "--max-audio-s nan",
        "--max-file-mb",
    ],
)
def test_a_flag_that_cannot_work_fails_with_one_sentence(flags):
    with pytest.raises(BadConfig) as caught:
        parse_flags(flags.split())
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message
