"""How a query becomes token ids. The only place that writes `<SEG>`.

Prompt and answer are tokenised apart and joined as ids, so that what training sees is exactly what generation
continues. Text from users and datasets is neutralised first: a `<SEG>` or `<image>` in a question or an explanation
stays plain text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from segtune.core.errors import DataError
from segtune.core.input_spec import InputSpec
from segtune.core.records import Query

_PLACE = "\x00query\x00"


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer.

    Attributes:
        prompt: Token ids up to where the answer begins, image placeholders written out.
        answer: Token ids of the answer, closed by the end-of-answer token.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Conversation:
    """Writes turns for one tokenizer and one wording.

    Args:
        processor: The VLM's processor: tokenizer and chat template.
        spec: Wording and number of image placeholders.
    """

    def __init__(self, processor: Any, spec: InputSpec) -> None:
        self.tokenizer = processor.tokenizer
        self.wording = spec.conversation
        content = [{"type": "image"}, {"type": "text", "text": _PLACE}]
        template = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        self._text_only = re.sub(re.escape(spec.image_token) + r"\s?", "", template)
        self._template = template.replace(spec.image_token, spec.image_token * spec.num_image_tokens)
        self._specials = sorted({spec.image_token, *self.tokenizer.all_special_tokens}, key=len, reverse=True)
        self._answers: dict[str, tuple[int, ...]] = {}

    def question(self, query: Query) -> str:
        """The words that the model is asked: the query in its wording, special tokens made harmless."""
        text = self._harmless(" ".join(query.text.split()))
        return (self.wording.long if query.is_sentence else self.wording.short).replace("{query}", text)

    def explained(self, explanation: str) -> str:
        """The answer that gives a source's explanation, special tokens in it made harmless."""
        return self.wording.explained_answer.replace("{explanation}", self._harmless(explanation.rstrip(" .")))

    def _harmless(self, text: str) -> str:
        for token in self._specials:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def prompt(self, query: Query, *, with_image: bool = True) -> tuple[int, ...]:
        """Token ids of the question, up to where the answer begins; without image placeholders if so asked."""
        text = (self._template if with_image else self._text_only).replace(_PLACE, self.question(query))
        # A template that writes the begin token itself must not get a second one.
        starts = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        ids = self.tokenizer(text, add_special_tokens=not starts)["input_ids"]
        if not starts and self.tokenizer.bos_token_id is not None and ids[0] != self.tokenizer.bos_token_id:
            ids = [self.tokenizer.bos_token_id, *ids]
        return tuple(ids)

    def answer(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer, closed."""
        if text not in self._answers:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            self._answers[text] = (*ids, self.tokenizer.eos_token_id)
        return self._answers[text]

    def turn(self, query: Query, answer: str, *, with_image: bool = True) -> Turn:
        """A question with a given answer.

        Raises:
            DataError: The query is empty.
        """
        if not query.text.strip():
            raise DataError("this query is empty", expected="a phrase or a sentence", found=repr(query.text))
        return Turn(self.prompt(query, with_image=with_image), self.answer(answer))

    def text_of(self, ids: tuple[int, ...]) -> str:
        """The words of generated ids, without the tokens that only begin, end or pad."""
        silent = {self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.tokenizer.pad_token_id}
        return self.tokenizer.decode([i for i in ids if i not in silent], skip_special_tokens=False).strip()
