"""Stage: the DiT learns codes -> mel by flow matching with classifier-free guidance, block-wise as it will stream."""

import copy
import random
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniDiTConfig as DiTConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel as DiT

from training.loop import Training, cosine
from training.speech.codec import load_codebook, load_codes
from training.speech.cuts import Cutter, whole_mel
from training.speech.mel import MEL_SCALE, NUM_MELS, LogMel, to_model_domain
from training.speech.reply_voices import VOICES
from training.speech.vocoder import reset_parameters
from training.speech.voices_out import Recordings, load_recordings
from training.workspace import Workspace

NAME = "flow"
NUM_STEPS = 7000
NUM_FRAMES, BATCH = 96, 12
LEARNING_RATE = 1.2e-3
# Share of pieces that learn without codes and voice: what guidance points away from.
DROPPED = 0.1
EMA_DECAY = 0.999
REFERENCE_FRAMES = 120
SPEAKER_SIZE = 16


def config(num_codes: int) -> DiTConfig:
    """Embeddings are `num_codes` + 1: code 0 is the class's own "no code"."""
    return DiTConfig(
        hidden_size=160,
        num_hidden_layers=7,
        num_attention_heads=4,
        head_dim=40,
        ff_mult=2,
        emb_dim=64,
        block_size=24,
        look_ahead_layers=[3],
        look_backward_layers=[0, 5],
        repeats=2,
        num_embeds=num_codes,
        mel_dim=NUM_MELS,
        dropout=0.0,
        enc_emb_dim=SPEAKER_SIZE,
        enc_dim=32,
        enc_channels=[64, 64, 64, 128],
        enc_kernel_sizes=[5, 3, 3, 1],
        enc_dilations=[1, 2, 3, 1],
        enc_attention_channels=32,
        enc_res2net_scale=2,
        enc_se_channels=32,
        max_position_embeddings=4096,
    )


def new_flow(num_codes: int) -> DiT:
    model = DiT._from_config(config(num_codes), attn_implementation="sdpa")
    reset_parameters(model)
    # Every block starts as the identity, and the whole as zero.
    for layer in [block.attn_norm.linear for block in model.transformer_blocks] + [
        model.norm_out.linear,
        model.proj_out,
    ]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.normal_(model.text_embed.codec_embed.weight, std=0.5)
    return model


def load_flow(workspace: Workspace) -> DiT:
    weights = workspace.load_weights(NAME)
    num_codes = weights["text_embed.codec_embed.weight"].shape[0] - 1
    model = DiT._from_config(config(num_codes), attn_implementation="sdpa").to(workspace.device)
    model.load_state_dict(weights)
    return model.eval()


def load_speakers(workspace: Workspace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For every reply voice `cond` [1, 16] and `ref_mel` [1, frame, 80] in the model's domain."""
    weights = workspace.load_weights(NAME, "speakers.safetensors")
    return [(weights[f"cond.{voice}"], weights[f"ref_mel.{voice}"]) for voice in range(len(VOICES))]


class Pieces:
    """Batches of mel with its codes and its voice: another stretch of the same voice's speech, and a fixed vector."""

    def __init__(self, workspace: Workspace, recordings: Recordings, codes: list[torch.Tensor], held_out: bool) -> None:
        self._recordings = recordings
        self._codes = codes
        self._cutter = Cutter(recordings, NUM_FRAMES, held_out, workspace.device)
        self._references = Cutter(recordings, REFERENCE_FRAMES, held_out, workspace.device)
        self._vectors = speaker_vectors(workspace.seed).to(workspace.device)

    def draw(self, generator: random.Random, size: int = BATCH) -> tuple[torch.Tensor, ...]:
        """Mel [piece, frame, 80], codes [piece, frame // 2], reference mel [piece, frame, 80], vectors [piece, 16]."""
        places = self._cutter.draw(generator, size)
        mel, _ = self._cutter.cut(places)
        codes = torch.stack([self._codes[i][first // 2 : (first + NUM_FRAMES) // 2] for i, first in places])
        # The voices take turns in every draw, so piece and reference agree.
        reference, _ = self._references.cut(self._references.draw(generator, size))
        vectors = self._vectors[[self._recordings.voice[i] for i, _ in places]]
        return mel.transpose(1, 2), codes.to(mel.device), reference.transpose(1, 2), vectors


def speaker_vectors(seed: int) -> torch.Tensor:
    """[voice, 16]: fixed, as the published speakers' vectors are; the DiT learns which is whose."""
    return torch.randn(len(VOICES), SPEAKER_SIZE, generator=torch.Generator().manual_seed(100 + seed))


def flow_error(
    model: DiT,
    pieces: tuple[torch.Tensor, ...],
    generator: torch.Generator,
    dropped: float = 0.0,
    time: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of the flow from noise to mel, and the error [piece, frame, 80] of one step to the end."""
    mel, codes, reference, vectors = pieces
    device = mel.device
    noise = torch.randn(mel.shape, generator=generator).to(device)
    time = torch.rand(len(mel), generator=generator).to(device) if time is None else time
    kept = (torch.rand(len(mel), generator=generator) >= dropped).to(device)
    left = (1 - time)[:, None, None]
    mixed = left * noise + time[:, None, None] * mel
    predicted = model(
        hidden_states=mixed,
        condition_vector=reference * kept[:, None, None],
        speaker_embedding=(vectors * kept[:, None])[:, None].expand(-1, mel.shape[1], -1),
        quantized_code=codes * kept[:, None],
        time_step=time,
        apply_cfg=False,
    ).float()
    return (predicted - (mel - noise)).pow(2).mean(), mixed + left * predicted - mel


def run(workspace: Workspace) -> None:
    recordings, codes = load_recordings(workspace), load_codes(workspace)
    torch.manual_seed(workspace.seed)
    model = new_flow(len(load_codebook(workspace).centroids)).to(workspace.device).train()
    if started := workspace.started(NAME):
        model.load_state_dict(started)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    pieces = Pieces(workspace, recordings, codes, held_out=False)
    unseen = Pieces(workspace, recordings, codes, held_out=True)

    def step(index: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        follow(average, model, index)
        generator = workspace.random(f"{NAME}/{index}")
        noise = torch.Generator().manual_seed(generator.getrandbits(60))
        # Plain attention: the fused kernel's backward pass in bfloat16 is slow on CPUs.
        with workspace.autocast(), sdpa_kernel(SDPBackend.MATH):
            return flow_error(model, pieces.draw(generator), noise, DROPPED)[0], {}

    training = Training(
        workspace,
        NAME,
        workspace.steps(NAME, NUM_STEPS, 3),
        {"model": model, "average": average, "optimizer": optimizer},
        schedule=cosine,
        evaluate=lambda: judge(average, unseen, workspace),
    )
    training.run(step)
    workspace.save_weights(NAME, average.state_dict())
    workspace.save_weights(NAME, speakers(workspace, recordings), "speakers.safetensors")
    workspace.save_report(NAME, judge(average, unseen, workspace))


@torch.no_grad()
def follow(average: DiT, model: DiT, step: int) -> None:
    """Moves the running average of the weights, which starts short and grows long."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters()):
        mean.lerp_(value, 1 - decay)


def speakers(workspace: Workspace, recordings: Recordings) -> dict[str, torch.Tensor]:
    """What a published `spk_dict.pt` holds, per voice: vector [1, 16] and reference mel [1, 120, 80]."""
    log_mel = LogMel().to(workspace.device)
    weights = {}
    for voice, vector in enumerate(speaker_vectors(workspace.seed)):
        own = [i for i in range(len(recordings)) if recordings.voice[i] == voice and not recordings.held_out[i]]
        frames = torch.cat([whole_mel(recordings, i, log_mel) for i in own[:4]])[:REFERENCE_FRAMES]
        weights[f"cond.{voice}"] = vector[None]
        weights[f"ref_mel.{voice}"] = to_model_domain(frames)[None]
    return weights


@torch.no_grad()
def judge(average: DiT, unseen: Pieces, workspace: Workspace) -> dict[str, float]:
    """Held-out flow error, and the ln-mel error of a single step from pure noise."""
    pieces = unseen.draw(workspace.random(f"{NAME}/judge"), workspace.size(48, 3))
    error, _ = flow_error(average, pieces, torch.Generator().manual_seed(9))
    start = torch.zeros(len(pieces[0]), device=workspace.device)
    _, at_once = flow_error(average, pieces, torch.Generator().manual_seed(9), time=start)
    return {"error": round(error.item(), 4), "mel_error_at_once": round(at_once.abs().mean().item() * MEL_SCALE, 4)}
