"""What narrow weights cost and save: agreement with the wide model, right answers, bytes, milliseconds of a step.

    python -m benchmarks.quantize                     the micro checkpoint, 100 held-out typed questions
    python -m benchmarks.quantize --device cuda --dtype bfloat16

Greedy tokens are compared under teacher forcing, so that one other token does not make all behind it other ones: each
model reads the question and the wide model's reply, and says at each place what it would have written. The same for the
Talker's codes, from the inputs that the wide one had. "Right" are replies of its own. Bytes of the published shapes are
counted without weights. The last line is JSON.
"""

import argparse
import json
import queue
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import transformers
from torch import nn
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from app.chatml.render import DEFAULT_SYSTEM_PROMPT, render_turn
from app.config import MICRO_CHECKPOINT, QUANTIZATIONS
from app.engine.decoder import KVCache
from app.engine.engine import Engine
from app.engine.loader import EngineOptions, load_engine
from app.engine.quantize import joined_shapes, packed_weights, predicted_bytes
from app.types.events import TERMINAL, TextDelta, TurnFailed
from app.types.turn import TextPart
from benchmarks.geometry import build_7b, config_7b
from benchmarks.subject import hardware, wait

NUM_SPOKEN = 5
NUM_STEPS = 300
# Of the published 3B's language model.
SHAPE_3B = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
}


@dataclass(frozen=True, eq=False)
class Reply:
    """A question's ids and places, and the wide model's greedy reply."""

    ids: torch.Tensor
    positions: torch.Tensor
    reply_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Speech:
    """What the wide Talker's decoder was given for one reply, and from which row on a code was chosen."""

    embeds: torch.Tensor
    positions: torch.Tensor
    first: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(MICRO_CHECKPOINT), help="folder or hub id")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    report(options)


@torch.inference_mode()
def report(options: argparse.Namespace) -> None:
    # It needs what training needs.
    from training.domain.typed import spoken_reply
    from training.evaluate.sets import draw

    cases = draw("typed", options.questions)
    rows, replies, speeches = {}, [], []
    for name in ("none", *(kind for kind in QUANTIZATIONS if kind != "none")):
        engine = load_engine(
            EngineOptions(
                options.checkpoint, device=options.device, dtype=options.dtype, engine="eager", quantize=name
            ),
            lambda stage, share: None,
        )
        with closed(engine):
            own = [answer(engine, case.asks[0].parts) for case in cases]
            if name == "none":
                replies = [Reply(*question(engine, case.asks[0].parts), ids) for case, (_, ids) in zip(cases, own)]
                speeches = [speech(engine, case.asks[0].parts) for case in cases[:NUM_SPOKEN]]
                logits = [forced(engine, reply) for reply in replies]
                codes = [coded(engine, one) for one in speeches]
            found = figures(engine, replies, speeches, logits, codes)
            found["right"] = sum(spoken_reply(text) == spoken_reply(case.reply) for case, (text, _) in zip(cases, own))
            found["same_replies"] = sum(ids == reply.reply_ids for (_, ids), reply in zip(own, replies))
            found |= thinker_bytes(engine) | {"step_ms": step_ms(engine)}
            rows[name] = {key: round(value, 5) for key, value in found.items()}
            place = hardware(engine.stages.thinker.device)
    shapes = {name: shape_bytes(name) for name in ("3b", "7b")}
    print(f"{options.checkpoint if '/' not in options.checkpoint else 'micro'} on {place}, {options.dtype}\n")
    print(f"{'':8}{'tokens':>9}{'KL':>10}{'codes':>9}{'right':>7}{'same':>6}{'decoder MB':>12}{'step ms':>9}")
    for name, row in rows.items():
        print(
            f"{name:8}{row['token_agreement']:9.4f}{row['kl']:10.5f}{row['code_agreement']:9.4f}{row['right']:7}"
            f"{row['same_replies']:6}{row['decoder_bytes'] / 1e6:12.2f}{row['step_ms']:9.3f}"
        )
    print("\nGB in 16 bits but for what is narrow")
    for shape, table in shapes.items():
        for name, row in table.items():
            print(f"{shape:4}{name:6}" + "".join(f"  {key} {value / 1e9:.2f}" for key, value in row.items()))
    facts = {
        "questions": len(cases),
        "tokens": sum(len(reply.reply_ids) for reply in replies),
        "codes": sum(len(one) for one in codes),
        "device": options.device,
        "dtype": options.dtype,
        "hardware": place,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps({"micro": rows, "shapes": shapes} | facts))


@contextmanager
def closed(engine: Engine):
    try:
        yield
    finally:
        engine.close()


# -- agreement --------------------------------------------------------------------------------------------------------


def question(engine: Engine, parts: tuple[TextPart, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    prompt = render_turn(engine.spec, engine.tokenizer, engine.new_state(), parts, DEFAULT_SYSTEM_PROMPT)
    ids = torch.cat([segment.token_ids for segment in prompt.segments])
    return ids, torch.cat([segment.positions for segment in prompt.segments], 1)


def answer(engine: Engine, parts: tuple[TextPart, ...], speak: bool = False) -> tuple[str, tuple[int, ...]]:
    """The greedy reply."""
    defaults, state = engine.spec.defaults, engine.new_state()
    settings = replace(
        defaults, thinker=defaults.thinker.greedy(), talker=defaults.talker.greedy(), seed=0, speak=speak
    )
    prompt = render_turn(engine.spec, engine.tokenizer, state, parts, DEFAULT_SYSTEM_PROMPT)
    events: queue.SimpleQueue = queue.SimpleQueue()
    engine.submit(state, prompt, settings, 1, events.put)
    text, ids = "", []
    while not isinstance(event := events.get(), TERMINAL):
        if isinstance(event, TextDelta):
            text, ids = text + event.text, ids + list(event.text_ids)
    if isinstance(event, TurnFailed):
        raise RuntimeError(event.message)
    state.close()
    return text, tuple(ids)


def forced(engine: Engine, reply: Reply) -> torch.Tensor:
    """Log-probabilities `[n, vocabulary]` at the places of the given reply."""
    thinker = engine.stages.thinker
    # Behind its end there is nothing to agree on.
    read = torch.tensor(reply.reply_ids[:-1], dtype=torch.long)
    ids, top = torch.cat([reply.ids, read]), int(reply.positions.max()) + 1
    positions = torch.cat([reply.positions, torch.arange(top, top + len(read)).expand(3, -1)], 1)
    embeds = thinker.model.get_input_embeddings()(ids.to(thinker.device))
    hidden = thinker.decoder.forward(KVCache(), embeds, positions)[len(reply.ids) - 1 :]
    return torch.cat([thinker.logits(row[None, None]) for row in hidden]).float().log_softmax(-1).cpu()


def speech(engine: Engine, parts: tuple[TextPart, ...]) -> Speech:
    """What the Talker's decoder was given while the reply was spoken greedily."""
    decoder, given = engine.stages.talker.decoder, []
    forward = decoder.forward

    def noted(cache: KVCache, embeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        given.append((embeds.clone(), positions.clone().cpu()))
        return forward(cache, embeds, positions)

    decoder.forward = noted
    try:
        answer(engine, parts, speak=True)
    finally:
        del decoder.forward
    # All steps have one row.
    first = sum(len(embeds) for embeds, _ in given if len(embeds) > 1) - 1
    return Speech(torch.cat([embeds for embeds, _ in given]), torch.cat([places for _, places in given], 1), first)


def coded(engine: Engine, spoken: Speech) -> torch.Tensor:
    """The likeliest code at each place."""
    talker = engine.stages.talker
    hidden = talker.decoder.forward(KVCache(), spoken.embeds, spoken.positions)[spoken.first :]
    return talker.model.codec_head(hidden).argmax(-1).cpu()


def figures(
    engine: Engine,
    replies: list[Reply],
    speeches: list[Speech],
    wide_logits: list[torch.Tensor],
    wide_codes: list[torch.Tensor],
) -> dict[str, float]:
    logits = [forced(engine, reply) for reply in replies]
    mine, wide = torch.cat(logits), torch.cat(wide_logits)
    codes = torch.cat([coded(engine, one) for one in speeches])
    return {
        "token_agreement": (mine.argmax(-1) == wide.argmax(-1)).float().mean().item(),
        "kl": (wide.exp() * (wide - mine)).sum(-1).mean().item(),
        "code_agreement": (codes == torch.cat(wide_codes)).float().mean().item(),
    }


# -- costs ------------------------------------------------------------------------------------------------------------


def thinker_bytes(engine: Engine) -> dict[str, int]:
    """Counted: of the products of the Thinker's decoder, and of the whole Thinker."""
    model = engine.stages.thinker.model
    narrow = list(packed_weights(model.model))
    products = (linear for layer in model.model.layers for linears in joined_shapes(layer) for linear in linears)
    wide = sum(linear.weight.nbytes for linear in products)
    others = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    # What bitsandbytes keeps beside its numbers is in no buffer.
    hidden = sum(weight.num_bytes for weight in packed_weights(model)) - sum(
        tensor.nbytes for weight in packed_weights(model) for tensor in (*weight.parameters(), *weight.buffers())
    )
    return {
        "decoder_bytes": sum(weight.num_bytes for weight in narrow) + wide,
        "thinker_bytes": others + hidden,
    }


def step_ms(engine: Engine) -> float:
    """One token more through decoder and head, behind 100: what the fastest tenth keeps within, since other programs
    make a step slower and none makes it faster."""
    thinker, decoder = engine.stages.thinker, engine.stages.thinker.decoder
    cache, times = KVCache(), []
    embeds = thinker.model.get_input_embeddings()(torch.arange(100, device=thinker.device))
    decoder.forward(cache, embeds, torch.arange(100).expand(3, -1))
    for place in range(100, 100 + NUM_STEPS):
        wait(thinker.device)
        start = time.perf_counter()
        hidden = decoder.forward(cache, embeds[:1], torch.full((3, 1), place))
        thinker.logits(hidden[None])
        wait(thinker.device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.quantiles(times[3:], n=10)[0]


def shape_bytes(shape: str) -> dict[str, dict[str, int]]:
    """Of the published shape, by what is narrow: the Thinker's decoder, the Thinker, and where all of the shape is
    known, with and without speech, the model."""
    if shape == "7b":
        model = build_7b("meta", torch.bfloat16)
        thinker, talker, vocoder = model.thinker, model.talker, model.token2wav
    else:
        thinker, talker, vocoder = thinker_3b(), None, None
    found = {}
    for name in QUANTIZATIONS:
        head_kind = "none" if name == "none" else "int8"
        decoder = products_bytes(thinker.model.layers, name)
        saved = products_bytes(thinker.model.layers, "none") - decoder
        head = thinker.lm_head
        saved += head.weight.nbytes - predicted_bytes(head_kind, head.out_features, head.in_features, 2)
        row = {"decoder": decoder, "thinker": module_bytes(thinker) - saved}
        if talker is not None:
            talker_kind = "int8" if name == "int4" else "none"
            narrow = products_bytes(talker.model.layers, "none") - products_bytes(talker.model.layers, talker_kind)
            row["model"] = row["thinker"] + module_bytes(talker) - narrow + module_bytes(vocoder)
        found[name] = row
    return found


def products_bytes(layers: nn.ModuleList, quantize: str) -> int:
    return sum(
        predicted_bytes(quantize, sum(linear.out_features for linear in linears), linears[0].in_features, 2)
        for layer in layers
        for linears in joined_shapes(layer)
    )


def module_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def thinker_3b() -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Shapes alone. Its towers are the 7B's, but for the width that they give."""
    from app.engine.tokenizer_parts import build_tokenizer

    config = config_7b(build_tokenizer()).thinker_config.to_dict()
    config["text_config"] |= SHAPE_3B
    config["audio_config"]["output_dim"] = config["vision_config"]["out_hidden_size"] = SHAPE_3B["hidden_size"]
    config["text_config"]["layer_types"] = None
    with torch.device("meta"):
        return Qwen2_5OmniThinkerForConditionalGeneration._from_config(
            Qwen2_5OmniThinkerConfig(**config), dtype=torch.bfloat16
        )


if __name__ == "__main__":
    main()
