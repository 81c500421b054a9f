"""The Talker learns what it will be fed: our layout against the engine's steps, our batches against the library."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniTalkerForConditionalGeneration as LibraryTalker

from app.chatml.render import render_turn
from app.engine.decoder import KVCache
from app.types.prompt import VisionBlock
from app.types.turn import TextPart
from tests.engine_kit import SYSTEM, Tiny, codes, noise_image, run, sound
from training.export import build_config
from training.speech.words import NO_WORD
from training.talker.foresight import Foresight
from training.talker.generate import Drawing, speak
from training.talker.guide import Guide
from training.talker.layout import NOTHING, NUM_AHEAD, Frame, Lesson, layout, side_by_side
from training.talker.model import CODEC_END, CODEC_START, NUM_CODEC_IDS, Talker, from_library, library_weights
from training.talker.quiet import HEAD, QUIETER, TABLE, quiet
from training.talker.states import Reading, ask, read, shortened
from training.talker.studio import tokens_ahead
from training.thinker.config import ThinkerSizes
from training.thinker.model import LanguageModel
from training.thinker.sequence import Conversation, Pixels, Sound, Still, Text, TextEncoder, Voice

TINY_THINKER = ThinkerSizes(64, 3, 4, 2, 96, (2, 3, 3), 1e6)
TINY_TALKER = ThinkerSizes(32, 2, 2, 1, 64, (2, 3, 3), 1e6)
SMALL = ThinkerSizes(96, 2, 2, 1, 192, (8, 8, 8))
NUM_CODES = 40


def random_reading(num_prompt: int, num_reply: int, seed: int) -> Reading:
    generator = torch.Generator().manual_seed(seed)
    prompt, reply = (torch.randn(length, 192, generator=generator) for length in (num_prompt, num_reply))
    return Reading(prompt, torch.arange(num_prompt).expand(3, -1), reply, num_prompt, num_prompt)


@pytest.fixture(scope="module")
def talker() -> Talker:
    torch.manual_seed(0)
    return Talker(NUM_CODES).eval()


@pytest.fixture(scope="module")
def frame() -> Frame:
    generator = torch.Generator().manual_seed(1)
    return Frame(*(torch.randn(*shape, 192, generator=generator) for shape in ((3,), (), ())))


def test_we_learn_the_steps_that_the_engine_feeds(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny.engine
    model, thinker = engine.stages.talker.model, engine.stages.thinker
    first, second = "Good morning.", "I see a small red boat and three children."
    voice = next(iter(engine.stages.voices))
    settings = replace(engine.spec.defaults, voice=voice, ode_points=2)
    settings = replace(settings, talker=replace(settings.talker.greedy(), max_new_tokens=30))
    state = engine.new_state()
    run(engine, state, (TextPart("hello"),), settings, reply=first)
    parts = (noise_image(1), TextPart("what is it"), sound(2, 2.3))
    prompt = render_turn(engine.spec, engine.tokenizer, state, parts, SYSTEM, second)
    features = [feature for segment in prompt.segments for feature in segment.features]
    with torch.inference_mode():
        encoded = [item for segment in prompt.segments for item in thinker.encode(segment)]
    picture = next(feature for feature in features if isinstance(feature, VisionBlock))
    sounds_first = sorted(encoded, key=lambda item: item.token_id != engine.spec.ids.audio)
    media = torch.cat([item.rows for item in sounds_first])

    fed: list[tuple[torch.Tensor, torch.Tensor]] = []
    decoder = engine.stages.talker.decoder
    forward = decoder.forward

    def recording(cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        fed.append((embeds.clone(), positions))
        return forward(cache, embeds, positions)

    monkeypatch.setattr(decoder, "forward", recording)
    said = codes(run(engine, state, parts, settings, reply=second))[:-1]

    ours = Talker(8291, TINY_TALKER, 64)
    from_library(ours, model.state_dict())
    reader = LanguageModel(TINY_THINKER, len(thinker.model.model.embed_tokens.weight))
    reader.load_state_dict(thinker.model.model.state_dict())
    encode = TextEncoder(engine.tokenizer)
    conversation = Conversation(encode)
    conversation.system(SYSTEM)
    conversation.user((Text("hello"),))
    conversation.reply(first)
    grid = (picture.grid_thw[1] // 2, picture.grid_thw[2] // 2)
    pixels = Pixels(np.zeros((1, 0, 0), np.uint8), grid)
    conversation.user((Still(pixels), Text("what is it"), Voice(Sound(torch.zeros(230, 128)))))
    question = ask(conversation, second, encode)
    embeds = reader.embed_tokens.weight
    bos = engine.stages.voices[voice].bos_token_id
    frame = Frame(embeds[[bos]], embeds[model.text_eos_token], embeds[model.text_pad_token])
    reading = read(reader, [question], media=media)[0]
    steps = layout(ours, frame, reading, 0, torch.tensor(said))
    expected = torch.cat([embedded for embedded, _ in fed])
    places = torch.cat([positions for _, positions in fed], 1)
    number = len(expected)
    with torch.no_grad():
        made = ours.thinker_to_talker_proj(steps.states + ours.model.embed_tokens(steps.codes))[-number:]
    assert len(said) > question.num_reply and number > len(said) + 20, (len(said), question.num_reply, number)
    assert torch.equal(steps.positions[:, -number:], places)
    assert torch.allclose(made, expected, atol=1e-4), (made - expected).abs().max()
    assert steps.targets[-len(said) - 1 : -1].tolist() == said and steps.targets[-1] == ours.end


def test_a_quiet_thinker_writes_the_same(tiny: Tiny) -> None:
    whole = {f"model.{key}": value for key, value in tiny.engine.stages.thinker.model.model.state_dict().items()}
    softer = quiet(whole)
    states = []
    embedded, positions = torch.randn(1, 9, 64), torch.arange(9).expand(3, 1, -1)
    for weights in (whole, softer):
        reader = LanguageModel(TINY_THINKER, len(whole[TABLE]))
        reader.load_state_dict({key.removeprefix("model."): weights[key] for key in whole})
        states.append(reader(embedded, positions))
    assert torch.equal(states[0] @ whole[TABLE].T, states[1] @ softer[HEAD].T)
    assert torch.equal(states[0], states[1] * QUIETER)


def test_the_library_computes_what_we_learn(talker: Talker, frame: Frame, tiny: Tiny) -> None:
    config = build_config(tiny.processor.tokenizer, NUM_CODES).talker_config
    library = LibraryTalker(config).eval()
    weights = library_weights(talker)
    library.load_state_dict(weights)
    again = Talker(NUM_CODES)
    from_library(again, weights)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in talker.state_dict().items())
    steps = layout(talker, frame, random_reading(7, 3, 0), 1, torch.tensor([5, 6, 7, 40, 1]))
    read = torch.where(steps.codes == talker.start, CODEC_START, steps.codes)
    read = torch.where(read == talker.pad, 8292, read)
    with torch.no_grad():
        ours = talker.logits(talker(steps.states[None], steps.codes[None], steps.positions[:, None]))[0]
        embedded = library.model.embed_tokens(read) * (read > 0)[:, None] + steps.states
        hidden = library.model(
            inputs_embeds=library.thinker_to_talker_proj(embedded)[None], position_ids=steps.positions[:, None]
        ).last_hidden_state
        theirs = library.codec_head(hidden)[0]
        assert theirs.shape[-1] == NUM_CODEC_IDS
        columns = [0, *range(1, NUM_CODES + 1), CODEC_END]
        assert torch.allclose(theirs[:, columns], ours, atol=1e-4)
        assert torch.equal(theirs[:, 8296], theirs[:, 0]) and torch.equal(theirs[:, NUM_CODES + 1], theirs[:, 0])


def test_spoken_side_by_side_or_alone_or_in_one_pass_is_the_same(talker: Talker, frame: Frame) -> None:
    readings = [random_reading(9, 4, 2), random_reading(0, 2, 3), random_reading(3, 6, 4)]
    together, _ = speak(talker, frame, readings, [0, 1, 2], max_codes=20)
    for voice, (reading, made) in enumerate(zip(readings, together)):
        alone, _ = speak(talker, frame, [reading], [voice], max_codes=20)
        assert alone[0].tolist() == made.tolist()
    rows = [layout(talker, frame, reading, voice, together[voice]) for voice, reading in enumerate(readings)]
    steps = side_by_side(rows)
    with torch.no_grad():
        logits = talker.logits(talker(steps.states, steps.codes, steps.positions))
    for row, made in enumerate(together):
        guessed = logits[row][steps.targets[row] != NOTHING].argmax(-1)
        assert guessed[: len(made)].tolist() == made.tolist()


def test_a_shortened_prompt_keeps_its_places() -> None:
    reading = shortened(random_reading(9, 4, 5), 4)
    assert reading.positions[0].tolist() == [5, 6, 7, 8] and (reading.next_position, reading.top_position) == (9, 9)


def test_a_talker_learns_a_spelling_and_never_says_an_unused_id(frame: Frame) -> None:
    torch.manual_seed(0)
    talker = Talker(NUM_CODES, SMALL)
    words = torch.randn(12, 192)
    optimizer = torch.optim.AdamW(talker.parameters(), 4e-3)

    def spelling(ids: list[int]) -> torch.Tensor:
        return torch.tensor([code for word in ids for code in (3 * word + 1, 3 * word + 2, 3 * word + 3)])

    def reading(ids: list[int]) -> Reading:
        return Reading(words[:4], torch.arange(4).expand(3, -1), words[ids], 4, 4)

    for index in range(90):
        generator = np.random.default_rng(index)
        texts = [generator.integers(0, 12, 4).tolist() for _ in range(12)]
        steps = side_by_side([layout(talker, frame, reading(ids), 0, spelling(ids)) for ids in texts])
        is_target = steps.targets != NOTHING
        hidden = talker(steps.states, steps.codes, steps.positions)[is_target]
        loss = -talker.log_probabilities(hidden, steps.targets[is_target]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    asked = [[1, 5, 2, 9], [11, 0, 7, 3]]
    made, _ = speak(talker, frame, [reading(ids) for ids in asked], [0, 0], max_codes=20)
    assert [row.tolist() for row in made] == [spelling(ids).tolist() for ids in asked], loss.item()
    drawn, distance = speak(
        talker, frame, [reading(ids) for ids in asked] * 8, [0] * 16, Drawing(1.0), torch.Generator().manual_seed(0), 20
    )
    assert distance > 8 and all(len(row) for row in drawn)


def test_the_talker_is_asked_for_the_phones_that_follow_and_shown_the_words_that_are_due(
    talker: Talker, frame: Frame
) -> None:
    ahead = torch.tensor([[4, 9], [4, 9], [9, NOTHING]])
    nothing = [NOTHING, NOTHING]
    tokens = torch.tensor([[nothing, [0, 1]], [[0, 1], [1, 3]], [[1, 3], nothing]])
    short = layout(talker, frame, random_reading(5, 3, 0), 0, torch.tensor([7, 8, 9]), Lesson(ahead, tokens))
    long = layout(talker, frame, random_reading(9, 2, 1), 0, torch.tensor([7]))
    steps = side_by_side([short, long])
    is_said = steps.targets != NOTHING
    assert steps.ahead[0][is_said[0]].tolist() == [*ahead.tolist(), nothing]
    assert steps.words[0][is_said[0]].tolist() == [
        [nothing, [6, 7]], [[6, 7], [7, 9]], [[7, 9], nothing], [nothing, nothing]
    ]  # fmt: skip
    # Where the reply's tokens really are.
    assert torch.equal(short.states[6:9], random_reading(5, 3, 0).reply)
    for rest in (steps.ahead[~is_said], steps.words[~is_said], steps.ahead[1], steps.words[1]):
        assert (rest == NOTHING).all()


def test_who_is_guided_learns_to_look_and_foresee(frame: Frame) -> None:
    torch.manual_seed(0)
    talker, foresight = Talker(NUM_CODES), Foresight(192)
    guide = Guide(talker)
    said = torch.randint(1, NUM_CODES, (12,))
    tokens = torch.arange(12).div(4, rounding_mode="floor")[:, None, None] + torch.tensor([[0, 1], [1, 2]])
    lesson = Lesson(torch.randint(0, 9, (12, NUM_AHEAD)), tokens)
    steps = side_by_side([layout(talker, frame, random_reading(6, 4, 0), 0, said, lesson)])
    is_target = steps.targets != NOTHING
    optimizer = torch.optim.AdamW([*talker.parameters(), *foresight.parameters()], lr=2e-3)
    losses = []
    for _ in range(12):
        hidden = talker(steps.states, steps.codes, steps.positions)[is_target]
        missed, _ = foresight(hidden, steps.ahead[is_target])
        astray, looks = guide.loss(steps)
        (missed + astray).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((missed.item(), astray.item(), looks))
    assert all(after < 0.8 * before for before, after in zip(losses[0][:2], losses[-1][:2])), losses
    assert losses[-1][2] > losses[0][2], losses


def test_every_phone_knows_the_tokens_of_its_word_and_of_the_next() -> None:
    nothing = (NOTHING, NOTHING)
    assert tokens_ahead([0, 0, NO_WORD, 1, NO_WORD], [(0, 2), (2, 3)]) == [
        [(0, 2), (2, 3)], [(0, 2), (2, 3)], [nothing, (2, 3)], [(2, 3), nothing], [nothing, nothing]
    ]  # fmt: skip
