"""Token ids to text as they come, whole characters only."""

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Streams one reply's text; control tokens are left out. The pieces together are what `decode` gives."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self.text = ""

    def push(self, token_ids: Sequence[int]) -> str:
        pieces = []
        for token_id in token_ids:
            self._ids.append(token_id)
            pieces.append(self._stream.step(self._tokenizer.backend_tokenizer, token_id) or "")
        text = "".join(pieces)
        self.text += text
        return text

    def finish(self) -> str:
        """What an unfinished character at the very end still gives (as a replacement mark), else ""."""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        rest = whole[len(self.text) :] if whole.startswith(self.text) else ""
        self.text += rest
        return rest
