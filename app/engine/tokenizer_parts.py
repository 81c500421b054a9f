"""A small byte-level BPE tokenizer with the published special tokens and split rule; knows no model."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
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

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

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

# Room for all merges that the corpus yields; a model's vocabulary is made to fit the tokenizer, not the reverse.
MAX_BASE_TOKENS = 1400


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The same tokenizer on every call: byte-level BPE, special tokens last, left padding."""
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
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED_TOKENS,
        padding_side="left",
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
    )
