"""Builds the newest turn's token ids and positions piece by piece; text from people never becomes a control token."""

import re
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import PreTrainedTokenizerBase

from app.chatml.cursor import Cursor, vision_positions
from app.chatml.family import family_of
from app.chatml.features import mel_blocks, patchify, vision_block
from app.chatml.log_mel import log_mel
from app.chatml.video import VideoPiece, video_pieces
from app.engine.spec import ModelSpec
from app.types.media import Audio, Image, Video
from app.types.prompt import Boundary, Feature, MelBlock, Prompt, Segment
from app.types.turn import AudioPart, ImagePart, Part, TextPart, VideoPart

# A segment is one pass through the Thinker. Shorter ones cost a pass each, longer ones memory.
MIN_SEGMENT_TOKENS = 512


@dataclass(frozen=True)
class PastTurn:
    """A finished turn: what the user sent and the reply's ids as they were sampled."""

    parts: tuple[Part, ...]
    reply_ids: tuple[int, ...]


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Plain text to ids, never a control token."""
    added = tokenizer.added_tokens_decoder
    ids = _encode(tokenizer, text)
    if not any(id_ in added for id_ in ids):
        return ids
    # Qwen3 has some that it does not call special, as `<think>`, and a tokenizer finds those whatever it is told.
    names = "|".join(re.escape(token.content) for token in added.values())
    cuts = [0, *(match.start() + 1 for match in re.finditer(names, text)), len(text)]
    return [id_ for start, end in pairwise(cuts) for id_ in _encode(tokenizer, text[start:end])]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] if text else []


class PromptBuilder:
    """Appends ChatML pieces behind what a cache already holds.

    Text between two control tokens is tokenised as one string, as the chat template would have it; control tokens are
    placed by id and text with `split_special_tokens`, so a typed `<|im_end|>` stays eleven harmless characters.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: PreTrainedTokenizerBase,
        cursor: Cursor,
        min_segment_tokens: int = MIN_SEGMENT_TOKENS,
        num_cached: int = 0,
    ) -> None:
        """`num_cached`: tokens that the cache holds before these."""
        self._spec = spec
        self._family = family_of(spec)
        self._tokenizer = tokenizer
        self._cursor = cursor
        self._min_segment_tokens = min_segment_tokens
        self._text = ""
        self._ids: list[int] = []
        self._positions: list[torch.Tensor] = []
        self._features: list[Feature] = []
        self._segments: list[Segment] = []
        self._num_tokens = num_cached
        self.boundaries: list[Boundary] = []

    def system(self, prompt: str) -> None:
        self._control(self._spec.ids.im_start)
        self._text += f"system\n{prompt}"
        self._end_message()

    def close_reply(self, pending_ids: tuple[int, ...]) -> None:
        """End the reply that the cache holds. `pending_ids` were sampled last and are not in the cache yet."""
        self._reply(pending_ids)
        self._end_message()

    def _reply(self, ids: tuple[int, ...]) -> None:
        self._place([id_ for id_ in ids if id_ not in self._spec.ids.ends_of_text])

    def past(self, turn: PastTurn, is_last: bool = False) -> None:
        """`is_last`: its reply stays open, as when it was new."""
        self.user(turn.parts)
        self.assistant()
        self._reply(turn.reply_ids)
        self.boundaries.append(Boundary(self._num_tokens, self._cursor.next, self._cursor.top))
        if not is_last:
            self._end_message()

    def user(self, parts: tuple[Part, ...]) -> None:
        self.open_user()
        for part in parts:
            match part:
                case TextPart(text):
                    self._text += text
                case ImagePart(image):
                    self._image(image)
                case AudioPart(audio):
                    self._audio(audio)
                case VideoPart(video):
                    self._video(video)
        self.close_user()

    def text(self, text: str) -> None:
        """Plain text of the message that is open."""
        self._text += text

    def open_user(self) -> None:
        self._control(self._spec.ids.im_start)
        self._text += "user\n"

    def close_user(self) -> None:
        self._end_message()

    def assistant(self) -> None:
        """Open the reply; what is generated goes on at the highest position."""
        self._control(self._spec.ids.im_start)
        self._text += "assistant\n"
        self._flush_text()
        self._cursor.jump_to_top()

    def take(self) -> tuple[Segment, ...]:
        """What is complete so far, to be appended now; text that a control token has still to end stays."""
        self._cut(force=True)
        taken, self._segments = tuple(self._segments), []
        return taken

    def build(self, reply_ids: tuple[int, ...] | None = None) -> Prompt:
        self._flush_text()
        self._cut(force=True)
        return Prompt(tuple(self._segments), reply_ids, tuple(self.boundaries))

    def encode(self, text: str) -> list[int]:
        """Plain text to ids, never a control token."""
        return encode(self._tokenizer, text)

    def _end_message(self) -> None:
        self._control(self._spec.ids.im_end)
        self._text += "\n"

    def _control(self, *ids: int) -> None:
        self._flush_text()
        self._place(list(ids))

    def _flush_text(self) -> None:
        text, self._text = self._text, ""
        self._place(self.encode(text))

    def _place(self, ids: list[int]) -> None:
        if ids:
            self._ids += ids
            self._num_tokens += len(ids)
            self._positions.append(self._cursor.line(len(ids)))

    def _cut(self, force: bool = False) -> None:
        if self._ids and (force or len(self._ids) >= self._min_segment_tokens):
            ids, positions = torch.tensor(self._ids), torch.cat(self._positions, dim=1)
            self._segments.append(Segment(ids, positions, tuple(self._features)))
            self._ids, self._positions, self._features = [], [], []

    def _image(self, image: Image) -> None:
        ids, vision = self._spec.ids, self._spec.media.vision
        patches, grid = patchify(image.pixels[None], vision, self._spec.pixels)
        block = vision_block(patches, grid, vision.merge_size, is_video=False)
        self._control(ids.vision_start)
        height, width = grid[1] // vision.merge_size, grid[2] // vision.merge_size
        positions = vision_positions(torch.zeros(1, dtype=torch.long), height, width, self._cursor.next)
        self._media(ids.image, positions, (block,))
        self._control(ids.vision_end)
        self._cut()

    def _audio(self, audio: Audio) -> None:
        self.open_audio()
        for block in self._mel_blocks(audio):
            self.audio_block(block)
            self._cut()
        self.close_audio()

    def open_audio(self) -> None:
        self._control(self._spec.ids.audio_start)

    def audio_block(self, block: MelBlock) -> None:
        self._media(self._spec.ids.audio, self._cursor.line(block.num_tokens), (block,))

    def close_audio(self) -> None:
        self._control(self._spec.ids.audio_end)

    def _mel_blocks(self, audio: Audio) -> list[MelBlock]:
        rules = self._spec.mel
        return mel_blocks(log_mel(audio.samples, rules, self._family.mirrors_end), rules)

    def _media(self, placeholder: int, positions: torch.Tensor, features: tuple[Feature, ...]) -> None:
        self._ids += [placeholder] * positions.shape[1]
        self._num_tokens += positions.shape[1]
        self._positions.append(positions)
        self._features += features
        self._cursor.place(positions)

    def _video(self, video: Video) -> None:
        sounds = self._mel_blocks(video.audio) if video.audio is not None else []
        self.open_video(has_sound=bool(sounds))
        for piece in video_pieces(video, sounds, self._spec, self._cursor.next):
            self.video_piece(piece)
            if piece.is_whole:
                self._cut()
        self.close_video(has_sound=bool(sounds))
        self._cut()

    def open_video(self, has_sound: bool) -> None:
        ids = self._spec.ids
        if has_sound:
            self._pair(ids.vision_start, ids.audio_start)
        else:
            self._control(ids.vision_start)

    def video_piece(self, piece: VideoPiece) -> None:
        self._media(piece.token_id, piece.positions, piece.features)

    def close_video(self, has_sound: bool) -> None:
        ids = self._spec.ids
        if has_sound:
            self._pair(ids.audio_end, ids.vision_end)
        else:
            self._control(ids.vision_end)

    def _pair(self, first: int, second: int) -> None:
        """The two control tokens before or behind a video with sound."""
        self._flush_text()
        self._ids += [first, second]
        self._num_tokens += 2
        self._positions.append(self._family.pair(self._cursor))
