"""Fills a Qwen-Omni of any size with random weights that babble audibly; knows no file and no geometry."""

import math

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3OmniMoeForConditionalGeneration,
)

SPEAKERS = (("Chelsie", "<|spk_a_bos|>"), ("Ethan", "<|spk_b_bos|>"))
# Loudness of the babble: as loud as speech, with room before the clamp at 1.
TARGET_RMS = 0.12


def randomize(model: torch.nn.Module, gain: float) -> None:
    """Weights that keep a signal's size from layer to layer; with the library's 0.02 the embedding decides alone."""
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name or "codec_embed" in name or "code_embedding" in name:
            parameter.normal_()
        elif parameter.ndim >= 2:
            # Experts lie behind each other: `[expert, out, in]`.
            fan_in = parameter.shape[-1] if ".experts." in name else parameter[0].numel()
            parameter.normal_(std=gain / math.sqrt(fan_in))
        elif name.endswith("bias"):
            parameter.normal_(std=0.05)


def randomize_vocoder(vocoder: torch.nn.Module) -> None:
    """Weights that keep most of the sound between 200 Hz and 4 kHz and let it rise and fall (values found by trial)."""
    randomize(vocoder, gain=1.0)
    for name, parameter in vocoder.named_parameters():
        if parameter.ndim != 3:
            continue
        if name.startswith("resblocks"):
            # Three residual pairs per block: at 1 the signal grows ten thousandfold.
            parameter *= 0.6
        elif name.startswith("ups"):
            interpolate(parameter)


def interpolate(kernel: torch.nn.Parameter) -> None:
    """Fills a transposed convolution `[in, out, width]`: smooth, with a little noise that brings the overtones."""
    num_in, num_out, width = kernel.shape
    smooth = torch.randn(num_in, num_out, 1) * torch.hann_window(width + 2, periodic=False)[1:-1]
    kernel.copy_((smooth + 0.1 * torch.randn(num_in, num_out, width)) / math.sqrt(num_in))


def vary_scales(model: torch.nn.Module) -> None:
    """Gives each channel a scale of its own.

    The library's are all alike, so that exchanged norms would not be seen, and some let nearly nothing of their branch
    through.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("layer_scale.scale", "gamma")):
            parameter.normal_(mean=0.5, std=0.1)
        elif parameter.ndim == 1 and name.endswith("weight"):
            parameter.normal_(mean=1.0, std=0.2)


def randomize_code2wav(code2wav: torch.nn.Module) -> None:
    """As `randomize_vocoder`, for Qwen3-Omni's; the activations stay as the library begins them."""
    randomize(code2wav, gain=1.0)
    vary_scales(code2wav)
    for name, module in code2wav.named_modules():
        if isinstance(module, torch.nn.ConvTranspose1d):
            interpolate(module.weight)
        elif isinstance(module, torch.nn.Conv1d) and ".block." in name:
            module.weight *= 0.6


def prefer_readable(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """Makes the model say no control token but the end of the reply, and seldom pieces of characters."""
    head = model.thinker.lm_head.weight
    controls = set(tokenizer.get_added_vocab().values()) - {tokenizer.eos_token_id}
    factors = torch.zeros(head.shape[0], 1, device="cpu")
    for token_id in set(range(len(tokenizer))) - controls:
        is_readable = tokenizer.decode([token_id]).replace("\ufffd", "\0").strip(" ").isprintable()
        factors[token_id] = 1.0 if is_readable else 0.5
    head *= factors.to(head)


def set_ends(model: Qwen2_5OmniForConditionalGeneration, end_gain: float) -> None:
    """Scales the rows of the end tokens. Pad ends speech too; it is left to the trained ones."""
    config = model.config
    model.thinker.lm_head.weight[config.thinker_config.eos_token_id] *= end_gain
    model.talker.codec_head.weight[config.talker_config.tts_codec_end_token_id] *= end_gain
    model.talker.codec_head.weight[config.talker_config.tts_codec_pad_token_id] = 0


def set_qwen3_ends(model: Qwen3OmniMoeForConditionalGeneration, end_gain: float) -> None:
    """As `set_ends`, for Qwen3-Omni; sampled from the best of so many codes, the end of speech must stand out more."""
    model.thinker.lm_head.weight[model.config.im_end_token_id] *= end_gain
    model.talker.codec_head.weight[model.config.talker_config.codec_eos_token_id] *= end_gain**2


def build_speaker_map(
    tokenizer: PreTrainedTokenizerFast, config: Qwen2_5OmniConfig, num_ref_mel_frames: int
) -> dict[str, dict]:
    """Random voices: speaker embedding `[1, enc_emb_dim]`, reference log-mel `[1, num_frames, mel_dim]` and the text
    token that opens the Talker's reply."""
    dit = config.token2wav_config.dit_config
    return {
        name: {
            "cond": torch.randn(1, dit.enc_emb_dim),
            "ref_mel": torch.randn(1, num_ref_mel_frames, dit.mel_dim),
            "bos_token": tokenizer.convert_tokens_to_ids(token),
        }
        for name, token in SPEAKERS
    }


def set_loudness(model: Qwen2_5OmniForConditionalGeneration, num_codes: int = 96) -> None:
    """Scales the last convolution so that `num_codes` random codes sound at `TARGET_RMS`, without a constant offset."""
    last = model.token2wav.code2wav_bigvgan_model.conv_post.weight
    make_odd(last)
    codes = torch.randint(0, 8192, (1, num_codes))
    voice = model.speaker_map[SPEAKERS[0][0]]
    # The default number of steps: fewer end at a mel of another size.
    wave = model.token2wav(codes, conditioning=voice["cond"], reference_mel=voice["ref_mel"])
    last *= TARGET_RMS / wave.square().mean().sqrt()


def set_qwen3_loudness(model: Qwen3OmniMoeForConditionalGeneration, num_frames: int = 48) -> None:
    """As `set_loudness`, with `num_frames` frames of random codes."""
    config = model.config.code2wav_config
    last = model.code2wav.decoder[-1].conv
    make_odd(last.weight)
    last.bias.zero_()
    codes = torch.randint(0, config.codebook_size, (1, config.num_quantizers, num_frames))
    last.weight *= TARGET_RMS / model.code2wav(codes).square().mean().sqrt()


def make_odd(kernel: torch.nn.Parameter) -> None:
    """A smooth odd kernel: no constant offset, and the low overtones are louder than the high ones."""
    taps = torch.linspace(-1, 1, kernel.shape[-1])
    kernel.copy_((taps * (1 - taps.square())).expand_as(kernel) * 1e-2)
