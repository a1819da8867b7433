"""How a query becomes token ids. The only place that writes `<SEG>`.

Prompt and answer are tokenised apart and joined as ids, so that what training sees is exactly what generation
continues. Text from users and datasets is neutralised first: a `<SEG>` or `<image>` in a question or an explanation
stays plain text, whatever the tokenizer; `special_marks` says which words those are.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segtune.core.errors import DataError
from segtune.core.input_spec import SEG_TOKEN, InputSpec, TextSpec
from segtune.core.records import Query
from segtune.core.text import shortened

_PLACE = "\x00query\x00"

_ORDINARY = re.compile(r"[\w\s.,;:!?'\"()/-]*")
"""Texts in which no mark can hide whose spelling has a bracket, a bar or another sign that is not among these."""


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

    def __init__(self, processor: Any, spec: InputSpec | TextSpec) -> None:
        self.tokenizer = processor.tokenizer
        self.wording = spec.conversation
        content = [{"type": "image"}, {"type": "text", "text": _PLACE}]
        template = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        self._text_only = re.sub(re.escape(spec.image_token) + r"\s?", "", template)
        self._template = template.replace(spec.image_token, spec.image_token * spec.num_image_tokens)
        marks = special_marks(self.tokenizer) | {spec.image_token}
        self._marks = re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))
        self._marks_in_any_case = re.compile(self._marks.pattern, re.IGNORECASE)
        self._mark_ids = {self.tokenizer.convert_tokens_to_ids(mark) for mark in marks} - {self.tokenizer.unk_token_id}
        self._marks_are_odd = not any(_ORDINARY.fullmatch(mark) for mark in marks)
        self._num_image_tokens, self._room = spec.num_image_tokens, spec.max_positions
        self._answers: dict[str, tuple[int, ...]] = {}

    def question(self, query: Query) -> str:
        """The words that the model is asked: the query in its wording, special tokens made harmless."""
        text = self._harmless(" ".join(query.text.split()))
        return (self.wording.long if query.is_sentence else self.wording.short).replace("{query}", text)

    def explained(self, explanation: str) -> str:
        """The answer that gives a source's explanation, special tokens in it made harmless."""
        return self.wording.explained_answer.replace("{explanation}", self._harmless(explanation.rstrip(" .")))

    def _harmless(self, text: str) -> str:
        """The text with every special token in it broken in two, so that it is read as its letters.

        Raises:
            DataError: The tokenizer finds a special token in it all the same.
        """
        if self._marks_are_odd and _ORDINARY.fullmatch(text):
            return text
        # a tokenizer may fold case or width before it looks for its tokens: only its ids tell what it has found
        for attempt in (
            lambda said: self._marks.sub(_broken, said),
            lambda said: self._marks_in_any_case.sub(_broken, unicodedata.normalize("NFKC", said)),
            lambda said: re.sub(r"([^\w\s])", r"\1 ", said),
        ):
            text = attempt(text)
            if self._mark_ids.isdisjoint(self.tokenizer(text, add_special_tokens=False)["input_ids"]):
                return text
        raise DataError(
            "this text holds a special token of the model",
            expected="words that stay words",
            found=shortened(text),
            fix="leave the token out",
        )

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

    def turn(self, query: Query, answer: str, *, with_image: bool = True, where: str = "") -> Turn:
        """A question with a given answer.

        Args:
            query: The question.
            answer: The text of the answer.
            with_image: Whether the placeholders of the image are in the prompt.
            where: What the question belongs to, for messages.

        Raises:
            DataError: The query is empty, or question and answer do not fit the context of the model.
        """
        if not query.text.strip():
            raise DataError(
                "this query is empty", where=where, expected="a phrase or a sentence", found=repr(query.text)
            )
        turn = Turn(self.prompt(query, with_image=with_image), self.answer(answer))
        if self._room is not None and (length := len(turn.prompt) + len(turn.answer)) > self._room:
            raise DataError(
                "question and answer do not fit the context of the model",
                where=where,
                expected=f"at most {self._room:,} tokens, {self._num_image_tokens:,} of them for the image",
                found=f"{length:,} tokens with {shortened(query.text)}",
                fix="shorten the text",
            )
        return turn

    def surely_fits(self, query: Query, answer: str) -> bool:
        """Whether a question with its answer fits the context by the number of its characters alone.

        A token of a text in ASCII has a character at least, so most texts need not be tokenised to know.
        """
        text = self.question(query) + answer
        return self._room is None or (text.isascii() and self._frame + len(text) + 2 <= self._room)

    @cached_property
    def _frame(self) -> int:
        """Number of tokens around a question and its answer: the template with its image."""
        return len(self.prompt(Query("a", is_sentence=False))) + 1

    def text_of(self, ids: tuple[int, ...]) -> str:
        """The words of generated ids, without the tokens that only begin, end or pad."""
        silent = {self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.tokenizer.pad_token_id}
        return self.tokenizer.decode([i for i in ids if i not in silent], skip_special_tokens=False).strip()


def special_marks(tokenizer: Any) -> set[str]:
    """The texts that a tokenizer turns into tokens of their own, which a user's words must not become.

    That is every special token, also one that `all_special_tokens` does not list (a `<SEG>` that was added with
    `add_tokens`, the `<image>` of LLaVA), and every other added token but plain words and white space, which are only
    shorter names for text.
    """
    marks = {SEG_TOKEN, *tokenizer.all_special_tokens}
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            marks.add(token.content)
    added = {token.content for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.get_added_vocab())
    marks |= {text for text in added if not re.fullmatch(r"[\w\s]*", text)}
    return {mark.strip() for mark in marks if mark.strip()}


def _broken(found: re.Match[str]) -> str:
    """A special token as text: with a space behind its first character, or a space in place of its only one."""
    mark = found[0]
    return f"{mark[0]} {mark[1:]}" if len(mark) > 1 else " "
