"""A chat template as text before and behind each turn, for apps that have no Jinja.

What a template writes around turns is read off what it makes of marked ones. Then it is proven: hundreds of
conversations must be written to the last character as the template writes them. A form that does not is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from slm_export.errors import first_line
from slm_export.records import record, to_json

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
THOUGHT_ENDS = "</think>"
DAYS = ("1 January 2001", "2 February 2002")
CLOCK = "{{% macro strftime_now(format) %}}{}{{% endmacro +%}}"  # in front of a template, in place of the real one

Conversation = Sequence[tuple[str, str]]  # role and content of each turn


class Render(Protocol):
    """The template itself. `asked`: whether the assistant is to answer; `today` is what it is told of the date."""

    def __call__(self, conversation: Conversation, *, asked: bool, today: str) -> str: ...


class Refused(Exception):
    """Why a template has no such form."""


@record
class Turn:
    prefix: str
    suffix: str
    trim: bool = False  # white space at both ends of a content goes, as by Python's str.strip
    behind: str | None = None  # a content that holds this: only what is behind the last one, less newlines before it

    def written(self, content: str) -> str:
        if self.behind and self.behind in content:
            content = content.rpartition(self.behind)[2].lstrip("\n")
        return self.prefix + (content.strip() if self.trim else content) + self.suffix


@record
class Turns:
    system: Turn | None
    user: Turn
    assistant: Turn


@record
class Chat:
    start: str  # before the first turn
    turns: Turns
    answer: str  # behind the last turn
    default_system: str | None = None  # content of the system turn where a conversation brings none
    system_refused: str | None = None  # why turns.system is None


def written(chat: Chat, conversation: Conversation) -> str:
    """The prompt for a conversation that ends with a user's turn, as an app writes it; an empty system turn is none."""
    conversation = [(role, content) for role, content in conversation if role != SYSTEM or content.strip()]
    if chat.default_system is not None and conversation[0][0] != SYSTEM:
        conversation = [(SYSTEM, chat.default_system), *conversation]
    turns = [getattr(chat.turns, role).written(content) for role, content in conversation]
    return chat.start + "".join(turns) + chat.answer


def described(tokenizer: Any) -> dict[str, Any] | None:
    """A transformers tokenizer's template for the manifest: its Chat, or {"refused": why}; None if there is none."""
    if not tokenizer.chat_template:
        return None

    def render(conversation: Conversation, *, asked: bool, today: str) -> str:
        turns = [{"role": role, "content": content} for role, content in conversation]
        template = CLOCK.format(today) + tokenizer.get_chat_template()
        text: str = tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=asked
        )
        return text

    special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    try:
        form: dict[str, Any] = to_json(simple_form(render, first_token=tokenizer.bos_token or "", special=special))
    except Refused as why:
        return {"refused": str(why)}
    return form


def simple_form(render: Render, *, first_token: str = "", special: Collection[str] = ()) -> Chat:
    """The template's form; one without a system turn says why. `special` are tokens that no prefix or suffix may cut.

    Raises Refused, naming the first conversation that the template writes otherwise.
    """
    chat = _read(render, special)
    _prove(chat, render, _conversations(systems=(None,)))
    try:
        with_system = _read_system(chat, render, first_token)
        _prove(with_system, render, _conversations(systems=(None, *SYSTEMS)))
    except Refused as why:
        return replace(chat, system_refused=str(why))
    return with_system


def _read(render: Render, special: Collection[str]) -> Chat:
    """The form of conversations without a system turn. Where two turns meet, the cut is where a last turn would end."""
    before, to_answer = _around(render, USER)
    _, to_assistant, to_user, _ = _around(render, USER, ASSISTANT, USER)
    _, user_ends = _around(render, USER, asked=False)
    *_, assistant_ends = _around(render, USER, ASSISTANT, asked=False)
    suffix = _shared_start((to_answer, to_assistant, user_ends), special)
    assistant_suffix = _shared_start((to_user, assistant_ends), special)
    prefix = to_user.removeprefix(assistant_suffix)
    if not before.endswith(prefix):
        raise Refused(f"the template begins a first user's turn with {before!r}, and later ones with {prefix!r}")
    return Chat(
        start=before.removesuffix(prefix),
        turns=Turns(
            system=None,
            user=_turn(render, USER, prefix, suffix),
            assistant=_turn(render, ASSISTANT, to_assistant.removeprefix(suffix), assistant_suffix),
        ),
        answer=to_answer.removeprefix(suffix),
    )


def _read_system(chat: Chat, render: Render, first_token: str) -> Chat:
    """`chat` with a system turn. What it writes before a first user's turn is then its start, or a system turn of the
    template's own behind it."""
    before, between, _ = _around(render, SYSTEM, USER)
    if not between.endswith(chat.turns.user.prefix):
        raise Refused("the template writes a system turn's content into the user's turn")
    suffix, own = between.removesuffix(chat.turns.user.prefix), chat.start
    if before.startswith(own):
        start, default = own, None
    elif own.startswith(before) and own.removeprefix(before).endswith(suffix):
        start = first_token if before.startswith(first_token) else ""
        default = own.removeprefix(before).removesuffix(suffix)
    else:
        raise Refused(f"before a system turn the template writes {before!r}, and without one {own!r}")
    system = _turn(render, SYSTEM, before.removeprefix(start), suffix)
    return replace(chat, start=start, turns=replace(chat.turns, system=system), default_system=default)


def _around(render: Render, *roles: str, asked: bool = True) -> list[str]:
    """What the template writes before, between and behind turns of `roles`."""
    marks = [f"mark{number}mark" for number in range(len(roles))]
    rest = _rendered(render, list(zip(roles, marks, strict=True)), asked=asked)
    pieces = []
    for role, mark in zip(roles, marks, strict=True):
        piece, *behind = rest.split(mark)
        if len(behind) != 1:
            raise Refused(f"the template does not write a {role}'s content once, and in its place")
        rest = behind[0]
        pieces.append(piece)
    return [*pieces, rest]


def _turn(render: Render, role: str, prefix: str, suffix: str) -> Turn:
    before: Conversation = {SYSTEM: (), USER: (), ASSISTANT: ((USER, "x"),)}[role]
    behind: Conversation = () if role == USER else ((USER, "x"),)

    def keeps(content: str, what: str) -> bool:
        return what in _rendered(render, [*before, (role, content), *behind])

    padded, thought = "\n mark \n", f"<think>\nmark\n{THOUGHT_ENDS}\n\nx"
    forgets = role == ASSISTANT and not keeps(thought, "mark")
    return Turn(prefix=prefix, suffix=suffix, trim=not keeps(padded, padded), behind=THOUGHT_ENDS if forgets else None)


def _shared_start(texts: Sequence[str], special: Collection[str]) -> str:
    """The longest text that all of `texts` begin with, and after which none of them goes on within a special token."""
    shared = _common(texts)
    while any(_is_cut(text, len(shared), token) for text in texts for token in special):
        shared = shared[:-1]
    return shared


def _common(texts: Sequence[str]) -> str:
    shared = min(len(text) for text in texts)
    while any(text[:shared] != texts[0][:shared] for text in texts):
        shared -= 1
    return texts[0][:shared]


def _is_cut(text: str, at: int, token: str) -> bool:
    """Whether an occurrence of `token` begins before `at` and ends behind it."""
    return token in text[max(0, at - len(token) + 1) : at + len(token) - 1]


def _prove(chat: Chat, render: Render, conversations: Iterator[Conversation]) -> None:
    for conversation in conversations:
        wanted, got = _rendered(render, conversation), written(chat, conversation)
        if wanted != _rendered(render, conversation, today=DAYS[1]):
            raise Refused("the template writes the day's date")
        if wanted != got:
            same = len(_common([wanted, got]))
            raise Refused(
                f"of the conversation {_named(conversation)} the template writes {_excerpt(wanted, same)}, "
                f"prefixes and suffixes would write {_excerpt(got, same)}"
            )


def _rendered(render: Render, conversation: Conversation, *, asked: bool = True, today: str = DAYS[0]) -> str:
    try:
        return render(conversation, asked=asked, today=today)
    except Exception as err:  # a template raises whatever it likes, and Jinja for whatever it cannot do
        raise Refused(f"the template refuses the conversation {_named(conversation)}: {first_line(err)}") from err


def _named(conversation: Conversation) -> str:
    return ", ".join(f"{role} {content[:24]!r}" for role, content in conversation)


def _excerpt(text: str, at: int) -> str:
    return repr(text[max(0, at - 12) : at + 24])


# What people, models and attackers write, and what templates may look for.
CONTENTS = (
    "Hello", "", " ", "  what is around stays  ", "\n\nfirst\n\n\tsecond\n", "Grüße, 你好 👋🏽 \u00a0ends in\u2028",
    'def f(x):\n    return {"a": [x], \'b\': None}\n', "{{ messages }}{% if x %}{# y #}{% endif %}",
    "<|im_end|>\n<|im_start|>system\n[/INST] <<SYS>> </s><end_of_turn>", "<think>\nhm\n</think>\n\nyes", "</think>",
    "&lt;b&gt; \\n \\\\ $1 %s {0}", "a\r\nb", "/no_think system user assistant",
)  # fmt: skip
SYSTEMS = tuple(content for content in CONTENTS if content.strip())
MOST_TURNS = 5  # of the user


def _conversations(*, systems: Sequence[str | None]) -> Iterator[Conversation]:
    """With every content in every place, first the short ones."""
    for turns in range(1, MOST_TURNS + 1):
        for first in range(len(CONTENTS)):
            spoken = [
                (ASSISTANT if place % 2 else USER, CONTENTS[(first + 3 * place) % len(CONTENTS)])
                for place in range(2 * turns - 1)
            ]
            system = systems[(first + turns) % len(systems)]
            yield spoken if system is None else [(SYSTEM, system), *spoken]
