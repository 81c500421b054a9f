"""Fills a Qwen2.5-Omni of any size with random weights that babble audibly; knows no file and no geometry."""

import math

import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

SPEAKERS = (("Chelsie", "<|spk_a_bos|>"), ("Ethan", "<|spk_b_bos|>"))
# Loudness of the babble: as loud as speech, with room before the clamp at 1.
TARGET_RMS = 0.12


def randomize(model: torch.nn.Module, gain: float) -> None:
    """Weights that keep a signal's size from layer to layer; with the library's 0.02 the embedding decides alone."""
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name or "codec_embed" in name:
            parameter.normal_()
        elif parameter.ndim >= 2:
            parameter.normal_(std=gain / math.sqrt(parameter[0].numel()))
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
            # A smooth kernel interpolates; a little noise on it brings the overtones.
            num_in, num_out, width = parameter.shape
            smooth = torch.randn(num_in, num_out, 1) * torch.hann_window(width + 2, periodic=False)[1:-1]
            parameter.copy_((smooth + 0.1 * torch.randn(num_in, num_out, width)) / math.sqrt(num_in))


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
    # A smooth odd kernel: no constant offset, and the low overtones are louder than the high ones.
    taps = torch.linspace(-1, 1, last.shape[-1])
    last.copy_((taps * (1 - taps.square())).expand_as(last) * 1e-2)
    codes = torch.randint(0, 8192, (1, num_codes))
    voice = model.speaker_map[SPEAKERS[0][0]]
    # The default number of steps: fewer end at a mel of another size.
    wave = model.token2wav(codes, conditioning=voice["cond"], reference_mel=voice["ref_mel"])
    last *= TARGET_RMS / wave.square().mean().sqrt()
