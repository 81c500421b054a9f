"""The Thinker that is trained is the Thinker that is run: same layout of a conversation, same numbers."""

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration, Qwen2VLImageProcessor

from app.chatml.builder import PromptBuilder
from app.chatml.cursor import Cursor
from app.chatml.log_mel import log_mel
from app.engine.spec import MelRules, ModelSpec, PixelRules
from app.engine.tokenizer_parts import build_tokenizer
from app.types.media import Audio, Image, MediaRules, Video, VisionRules
from app.types.turn import AudioPart, ImagePart, TextPart, VideoPart
from training.thinker.batch import collate, embed, perceive
from training.thinker.config import ThinkerSizes, TowerSizes, library_config, token_ids, vocabulary_size
from training.thinker.curriculum import guess_places
from training.thinker.decode import greedy
from training.thinker.model import PIXEL_DEVIATION, PIXEL_MEAN, Thinker, num_sound_tokens, weights_of
from training.thinker.sequence import Conversation, Film, Pixels, Sound, Still, Text, TextEncoder, Voice, patches_of

SYSTEM = "You are a helpful assistant."
MEL = MelRules(num_mel_bins=128, sample_rate=16_000, n_fft=400, hop=160, block_frames=200)
VISION = VisionRules(14, 2, 2, 784, 25_088, 784, 15_680, 2.0, 2, 768)
TOWER = TowerSizes(32, 2, 2, 48)
SMALL = ThinkerSizes(hidden=128, num_layers=2, num_heads=4, num_kv_heads=2, ffn=64, audio=TOWER, vision=TOWER)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def encode(tokenizer):
    return TextEncoder(tokenizer)


@pytest.fixture(scope="module")
def thinker(tokenizer):
    torch.manual_seed(0)
    return Thinker(SMALL, vocabulary_size(tokenizer)).eval()


def spec(tokenizer) -> ModelSpec:
    return ModelSpec(
        family="qwen2_5_omni",
        name="micro",
        device="cpu",
        dtype="float32",
        attention="sdpa",
        has_talker=False,
        voices=(),
        context_length=32768,
        ids=token_ids(tokenizer),
        media=MediaRules(16_000, VISION),
        mel=MEL,
        pixels=PixelRules(PIXEL_MEAN, PIXEL_DEVIATION),
        position_ids_per_s=25,
        s_per_chunk=2,
        output_sample_rate=24_000,
        codec_frame_s=0.02,
        bytes_per_token=1,
        is_random=False,
    )


def noise(seed: int, seconds: float) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(int(16_000 * seconds)) * 0.1).astype(np.float32)


def frames(seed: int, number: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 28 * rows, 28 * columns, 3), dtype=np.uint8)


def heard(samples: np.ndarray) -> Sound:
    return Sound(log_mel(samples, MEL).T.contiguous())


def seen(pixels: np.ndarray) -> Pixels:
    return Pixels(*patches_of(pixels))


def case(name: str) -> tuple[tuple, tuple]:
    """The same user message for `PromptBuilder` and for `Conversation`."""
    sound, picture, clip = noise(1, 2.71), frames(2, 1, 3, 5), frames(3, 6, 2, 4)
    wide = frames(4, 2, 2, 60)
    cases = {
        "text": ((TextPart("What is 23 + 4?"),), (Text("What is 23 + 4?"),)),
        "sound": ((AudioPart(Audio(sound, 16_000)),), (Voice(heard(sound)),)),
        "picture": (
            (ImagePart(Image(picture[0])), TextPart("What is this?")),
            (Still(seen(picture)), Text("What is this?")),
        ),
        "picture and sound": (
            (ImagePart(Image(picture[0])), AudioPart(Audio(sound, 16_000))),
            (Still(seen(picture)), Voice(heard(sound))),
        ),
        "clip": (
            (VideoPart(Video(clip, 2.0, None)), TextPart("Where does it go?")),
            (Film(seen(clip), None), Text("Where does it go?")),
        ),
    }
    for seconds in (1.4, 3.0, 4.6):
        track = noise(5, seconds)
        cases[f"clip with {seconds} s of sound"] = (
            (VideoPart(Video(clip, 2.0, Audio(track, 16_000))), TextPart("What did you hear?")),
            (Film(seen(clip), heard(track)), Text("What did you hear?")),
        )
    short = noise(6, 0.7)
    cases["clip wider than its sound is long"] = (
        (VideoPart(Video(wide, 2.0, Audio(short, 16_000))),),
        (Film(seen(wide), heard(short)),),
    )
    return cases[name]


CASES = [
    "text",
    "sound",
    "picture",
    "picture and sound",
    "clip",
    "clip with 1.4 s of sound",
    "clip with 3.0 s of sound",
    "clip with 4.6 s of sound",
    "clip wider than its sound is long",
]


@pytest.mark.parametrize("name", CASES)
def test_a_conversation_is_laid_out_as_the_running_program_does(name, tokenizer, encode):
    parts, own_parts = case(name)
    builder = PromptBuilder(spec(tokenizer), tokenizer, Cursor())
    conversation = Conversation(encode)
    builder.system(SYSTEM)
    conversation.system(SYSTEM)
    for reply in ("I see a boat.", "Yes."):
        builder.user(parts)
        builder.assistant()
        builder.close_reply(tuple(builder.encode(reply)))
        conversation.user(own_parts)
        conversation.reply(reply)
    builder.user((TextPart("And now?"),))
    builder.assistant()
    conversation.user((Text("And now?"),))
    segments = builder.build().segments
    assert conversation.ids == torch.cat([segment.token_ids for segment in segments]).tolist()
    positions = torch.cat([segment.positions for segment in segments], dim=1)
    assert torch.equal(torch.tensor(conversation.positions), positions), name
    features = [feature for segment in segments for feature in segment.features]
    patches = [feature.patches for feature in features if hasattr(feature, "patches")]
    own = [torch.from_numpy(item.patches).flatten(0, 1).float() for item in conversation.pixels]
    if patches:
        mean, deviation = ((torch.tensor(row) * 255).repeat_interleave(392) for row in (PIXEL_MEAN, PIXEL_DEVIATION))
        assert torch.allclose((torch.cat(own) - mean) / deviation, torch.cat(patches), atol=1e-5)
    num_tokens = sum(feature.num_tokens for feature in features)
    assert num_tokens == len(conversation.sound_places) + len(conversation.pixel_places)


def test_patches_equal_the_library_processors():
    picture = frames(7, 1, 3, 4)
    processor = Qwen2VLImageProcessor(size={"shortest_edge": 784, "longest_edge": 25_088}, do_resize=False)
    expected = processor(images=[torch.from_numpy(picture[0]).permute(2, 0, 1)], return_tensors="pt")["pixel_values"]
    patches, grid = patches_of(picture)
    mean, deviation = ((torch.tensor(row) * 255).repeat_interleave(392) for row in (PIXEL_MEAN, PIXEL_DEVIATION))
    assert grid == (3, 4)
    assert torch.allclose((torch.from_numpy(patches[0]).float() - mean) / deviation, expected, atol=1e-5)


@pytest.mark.parametrize("name", CASES[:-1])
@torch.no_grad()
def test_logits_equal_the_librarys(name, tokenizer, encode, thinker):
    library = Qwen2_5OmniThinkerForConditionalGeneration(library_config(tokenizer, thinker.sizes)).eval()
    missing = library.load_state_dict(weights_of(thinker), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    library.tie_weights()
    conversation = Conversation(encode)
    conversation.system(SYSTEM)
    conversation.user(case(name)[1])
    conversation.reply("I see a boat.")
    batch = collate([conversation], encode.ids.ends_of_text[0], torch.device("cpu"))
    states = thinker.model(embed(thinker, batch, perceive(thinker, batch)), batch.positions)
    own = thinker.model.logits(states)[0, : len(conversation)]

    inputs: dict = {}
    if conversation.sounds:
        mel = conversation.sounds[0].mel.T[None]
        inputs |= {"input_features": mel, "feature_attention_mask": torch.ones(1, mel.shape[2], dtype=torch.long)}
    if conversation.pixels:
        pixels = conversation.pixels[0]
        mean, deviation = ((torch.tensor(row) * 255).repeat_interleave(392) for row in (PIXEL_MEAN, PIXEL_DEVIATION))
        values = (torch.from_numpy(pixels.patches).flatten(0, 1).float() - mean) / deviation
        grid = torch.tensor([[len(pixels.patches), 2 * pixels.grid[0], 2 * pixels.grid[1]]])
        if "clip" in name:
            inputs |= {"pixel_values_videos": values, "video_grid_thw": grid}
            inputs |= {"video_second_per_grid": torch.tensor([1.0])}
        else:
            inputs |= {"pixel_values": values, "image_grid_thw": grid}
    ids = torch.tensor([conversation.ids])
    in_video = "clip with" in name
    expected = library(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_audio_in_video=in_video, **inputs
    ).logits[0]
    assert torch.allclose(own, expected, atol=1e-4), float((own - expected).abs().max())


@torch.no_grad()
def test_batched_decoding_equals_one_by_one(encode, thinker):
    prompts = []
    for name in ("text", "sound", "picture"):
        prompt = Conversation(encode)
        prompt.system(SYSTEM)
        prompt.user(case(name)[1])
        prompts.append(prompt)
    together = greedy(thinker, prompts, encode, max_new_tokens=8)
    alone = [greedy(thinker, [prompt], encode, max_new_tokens=8)[0] for prompt in prompts]
    assert together == alone


@torch.no_grad()
def test_clips_of_any_length_are_heard_as_each_alone(thinker):
    mels = [torch.randn(length, 128) for length in (2, 3, 57, 199, 200, 201, 390, 400, 455)]
    for mel, vectors in zip(mels, thinker.audio_tower(mels)):
        assert vectors.shape == (num_sound_tokens(len(mel)), SMALL.hidden)
        assert torch.allclose(vectors, thinker.audio_tower([mel])[0], atol=1e-5), len(mel)


def test_only_replies_are_learnt(encode, tokenizer):
    conversation = Conversation(encode)
    conversation.system(SYSTEM)
    conversation.user((Text("Hello"),))
    conversation.reply("Good morning.")
    learnt = [id_ for id_, is_learnt in zip(conversation.ids, conversation.is_learnt) if is_learnt]
    assert tokenizer.decode(learnt) == "Good morning.<|im_end|>"


def test_guessed_places_follow_each_other_in_the_loud_part():
    mel = torch.full((120, 128), -1.0)
    mel[40:100] = 0.5
    places = guess_places(mel, [3, 6, 3])
    assert places.tolist() == [-1] * 10 + [0] * 4 + [1] * 8 + [2] * 4 + [-1] * 4
