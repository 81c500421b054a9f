"""Small byte-level BPE tokenizers with the published special tokens and split rule; knows no model."""

from collections.abc import Mapping, Sequence, Set

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# How Qwen2's tokenizer cuts text before merging (transformers, convert_slow_tokenizer.py, Qwen2Converter).
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Names and order as in the published vocabulary from id 151643 on; the speaker and tts tokens follow there later and
# without names of their own.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<|spk_a_bos|>",
    "<|spk_b_bos|>",
)

# The processor reads exactly these attributes of its tokenizer.
NAMED_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}

# Qwen3-Omni's, in the published order from id 151643 on and with nothing between them.
QWEN3_SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
)

# From `<tool_call>` to `</think>`: one id each, but published as not special. They stay in decoded text, and typed ones
# are found however it is asked.
QWEN3_PLAIN_TOKENS = frozenset(QWEN3_SPECIAL_TOKENS[14:26])

QWEN3_NAMED_TOKENS = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}


def build_chat_template(named: Mapping[str, str], system: str | None) -> str:
    """`named`: as `NAMED_TOKENS`. `system`: the message that a conversation without one begins with."""
    unasked = (
        ""
        if system is None
        else "{% if loop.first and message['role'] != 'system' %}"
        f"<|im_start|>system\n{system}<|im_end|>\n"
        "{% endif %}"
    )
    vision = f"{named['vision_bos_token']}%s{named['vision_eos_token']}"
    return (
        "{% for message in messages %}"
        f"{unasked}"
        "<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
        "{% else %}{% for content in message['content'] %}"
        "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
        f"{vision % named['image_token']}"
        "{% elif content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}"
        f"{named['audio_bos_token']}{named['audio_token']}{named['audio_eos_token']}"
        "{% elif content['type'] == 'video' or 'video' in content %}"
        f"{vision % named['video_token']}"
        "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


CHAT_TEMPLATE = build_chat_template(NAMED_TOKENS, "You are a helpful assistant.")
QWEN3_CHAT_TEMPLATE = build_chat_template(QWEN3_NAMED_TOKENS, None)

# Text of our own. The merges learnt from it are what a random model babbles with.
CORPUS = (
    "You are a helpful assistant. system user assistant",
    "Good morning! The kettle is on, the window is open, and a blackbird sings from the roof across the street. "
    "I can hear rain far away, and somebody is playing the piano two floors up. What do you see in this picture? "
    "I see a small red boat, three children on the shore and a yellow dog that runs after the ball. "
    "Tell me more about it, please. Of course: the sea is calm, the light is soft, and nobody is in a hurry. "
    "Yes, that sounds right, but we should ask once more before we go. How long does it take to walk to the station? "
    "About twenty minutes, if you do not stop for coffee on the way; perhaps half an hour if you do.",
    "早上好！水壶在炉子上，窗户开着，街对面的屋顶上有一只鸟在唱歌。我听见远处的雨声，楼上有人在弹钢琴。"
    "你在这张照片里看到了什么？我看到一条红色的小船，三个孩子站在岸边，一只黄色的狗追着球跑。"
    "请再多说一点。当然可以：海很平静，光线很柔和，没有人着急。走到车站要多长时间？大约二十分钟。",
    "Доброе утро! Чайник на плите, окно открыто, и на крыше дома напротив поёт дрозд. Я слышу дождь вдалеке, "
    "а двумя этажами выше кто-то играет на пианино. Что ты видишь на этой картинке? Я вижу маленькую красную лодку, "
    "троих детей на берегу и жёлтую собаку, которая бежит за мячом. Расскажи ещё, пожалуйста. Конечно: море спокойно, "
    "свет мягкий, и никто не спешит. Сколько идти до станции? Минут двадцать, если не заходить за кофе по дороге.",
)

# The Talker of Qwen3-Omni tells the speakers of a prompt apart by one token each.
QWEN3_CORPUS = (*CORPUS, "system\nuser\nassistant")

# Room for all merges that the corpus yields; a model's vocabulary is made to fit the tokenizer, not the reverse.
MAX_BASE_TOKENS = 1400


def build_tokenizer(
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    named_tokens: Mapping[str, str] = NAMED_TOKENS,
    plain_tokens: Set[str] = frozenset(),
    corpus: Sequence[str] = CORPUS,
) -> PreTrainedTokenizerFast:
    """The same tokenizer on every call: byte-level BPE, special tokens last, left padding; by default Qwen2.5-Omni's.

    `plain_tokens`: those of `special_tokens` which the tokenizer itself does not call special.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_BASE_TOKENS,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens(
        [AddedToken(token, special=token not in plain_tokens, normalized=False) for token in special_tokens]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(named_tokens),
        padding_side="left",
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
    )


def build_qwen3_tokenizer() -> PreTrainedTokenizerFast:
    """As `build_tokenizer`, for Qwen3-Omni."""
    return build_tokenizer(QWEN3_SPECIAL_TOKENS, QWEN3_NAMED_TOKENS, QWEN3_PLAIN_TOKENS, QWEN3_CORPUS)
