"""The form of a chat template: prefixes and suffixes that write what the template writes, or why there are none."""

import json

import pytest

from slm_export import chat
from slm_export.records import from_json
from tests.conftest import ROOT

SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>",
           "<|end|>", "<|endoftext|>")  # fmt: skip
TEMPLATES = {path.stem: path.read_text() for path in (ROOT / "tests/chat_templates").glob("*.jinja")}
CHATML = TEMPLATES["chatml"]


class Tokenizer:
    """Renders as transformers' tokenizers do, without a vocabulary."""

    def __init__(self, template, bos="<s>", eos="</s>"):
        self.chat_template, self.bos_token, self.eos_token = template, bos, eos
        self.all_special_tokens = list(SPECIAL)

    def get_added_vocab(self):
        return {token: number for number, token in enumerate(self.all_special_tokens)}

    def get_chat_template(self):
        return self.chat_template

    def apply_chat_template(self, turns, *, chat_template=None, tokenize=False, add_generation_prompt=False):
        from transformers.utils.chat_template_utils import render_jinja_template

        template = chat_template or self.chat_template
        ((text,), _) = render_jinja_template(
            [turns], chat_template=template, add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token, eos_token=self.eos_token,
        )  # fmt: skip
        return text


def form(template, **tokens):
    return chat.described(Tokenizer(template, **tokens))


def turn(prefix, suffix, **more):
    return {"prefix": prefix, "suffix": suffix, "trim": False, "behind": None, **more}


def im(role, **more):
    return turn(f"<|im_start|>{role}\n", "<|im_end|>\n", **more)


def header(role):
    return turn(f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", trim=True)


ANSWER = "<|im_start|>assistant\n"
CHATML_TURNS = (im("system"), im("user"), im("assistant"))
FORMS = {  # start, turns, answer, default_system
    "chatml": ("", CHATML_TURNS, ANSWER, None),
    "smollm2": ("", CHATML_TURNS, ANSWER, "You are a helpful assistant"),
    "qwen2.5": ("", CHATML_TURNS, ANSWER, "You are Qwen."),
    "qwen3": ("", (im("system"), im("user"), im("assistant", behind="</think>")), ANSWER, None),
    "llama3": ("<s>", (*map(header, chat.ROLES),), "<|start_header_id|>assistant<|end_header_id|>\n\n", None),
    "phi3": ("", (*(turn(f"<|{role}|>\n", "<|end|>\n") for role in chat.ROLES),), "<|assistant|>\n", None),
    "zephyr": ("", (*(turn(f"<|{role}|>\n", "</s>\n") for role in chat.ROLES),), "<|assistant|>\n", None),
}


def expected(start, turns, answer, default):
    return {
        "start": start,
        "turns": dict(zip(chat.ROLES, turns, strict=True)),
        "answer": answer,
        "default_system": default,
        "system_refused": None,
    }


@pytest.mark.parametrize("name", FORMS)
def test_a_template_becomes_prefixes_and_suffixes(name):
    assert form(TEMPLATES[name]) == expected(*FORMS[name])


def test_a_first_token_is_not_part_of_a_default_system_turn():
    assert form("{{ bos_token }}" + TEMPLATES["qwen2.5"]) == expected("<s>", *FORMS["qwen2.5"][1:])


GEMMA_TURNS = ("<start_of_turn>user\n", "<end_of_turn>\n"), ("<start_of_turn>model\n", "<end_of_turn>\n")
WITHOUT_SYSTEM = {  # prefix and suffix of user and assistant, answer, why
    "gemma": (GEMMA_TURNS, "<start_of_turn>model\n", "user 'mark1mark': TemplateError: System role not supported"),
    "mistral": ((("[INST] ", " [/INST]"), ("", "</s>")), "", "TemplateError: roles must alternate"),
    "mistral-system": (((" [INST] ", " [/INST]"), (" ", "</s>")), "", "a system turn's content into the user's turn"),
}


@pytest.mark.parametrize("name", WITHOUT_SYSTEM)
def test_a_template_without_a_system_turn_of_its_own_has_the_rest(name):
    turns, answer, why = WITHOUT_SYSTEM[name]
    made = form(TEMPLATES[name])
    assert made["turns"]["system"] is None and why in made["system_refused"] and made["default_system"] is None
    found = [(made["turns"][role]["prefix"], made["turns"][role]["suffix"]) for role in ("user", "assistant")]
    assert (made["start"], tuple(found), made["answer"]) == ("<s>", turns, answer)
    assert made["turns"]["user"]["trim"] is (name == "gemma")


REFUSED = {
    "the date": (TEMPLATES["dated"], "the template writes the day's date"),
    "numbered turns": (
        CHATML.replace("'<|im_start|>' +", "loop.index ~"),
        "begins a first user's turn",
    ),
    "every fourth turn": (
        CHATML.replace("+ '<|im_end|>'", "+ ('' if loop.index0 == 4 else '<|im_end|>')"),
        "of the conversation user ",
    ),
    "empty turns left out": (
        CHATML.replace("{{'<|im", "{% if not message['content'] %}{% continue %}{% endif %}{{'<|im", 1),
        "of the conversation user '' the template writes '<|im_start|>assistant\\n', prefixes and suffixes would",
    ),
    "a content changed": (CHATML.replace("message['content']", "message['content'] | upper"), "a user's content once"),
    "a content escaped": (CHATML.replace("message['content']", "message['content'] | replace('<', '&lt;')"), "&lt;"),
    "a content repeated": (CHATML.replace("message['content']", "message['content'] * 2"), "a user's content once"),
    "everything": ("{{ raise_exception('not today') }}", "TemplateError: not today"),
    "no Jinja": ("{% for %}", "TemplateSyntaxError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_prefixes_cannot_say_is_refused_with_the_conversation(name):
    template, why = REFUSED[name]
    made = form(template)
    assert list(made) == ["refused"] and why in made["refused"]


def test_a_system_turn_that_is_written_otherwise_in_longer_chats_is_left_out():
    later = "{% if messages[0].role == 'system' and messages | length > 4 %}!{% endif %}"
    made = form(later + CHATML)
    assert made["turns"]["system"] is None and "of the conversation system" in made["system_refused"]
    assert made["turns"]["user"] == im("user")


def test_without_a_template_there_is_no_form():
    assert form(None) is None


@pytest.mark.parametrize("template", [TEMPLATES["smollm2"], TEMPLATES["qwen3"], TEMPLATES["llama3"], TEMPLATES["phi3"]])
def test_what_is_in_the_manifest_writes_as_the_template_does(template):
    known = from_json(chat.Chat, json.loads(json.dumps(form(template))))
    said = [("user", " hi\n"), ("assistant", "<think>\nhm</think>\n\nho "), ("user", "<|im_end|>")]
    for talk in (said, [("system", "Be brief."), *said]):
        turns = [{"role": role, "content": content} for role, content in talk]
        expected = Tokenizer(template).apply_chat_template(turns, add_generation_prompt=True)
        assert chat.written(known, talk) == expected


def test_an_empty_system_turn_is_none():
    known = from_json(chat.Chat, form(TEMPLATES["smollm2"]))
    assert chat.written(known, [("system", " "), ("user", "hi")]) == chat.written(known, [("user", "hi")])


def test_every_content_is_tried_in_every_place():
    tried = list(chat._conversations(systems=(None, *chat.SYSTEMS)))
    for place in range(2 * chat.MOST_TURNS - 1):
        said = {talk[place + (talk[0][0] == "system")][1] for talk in tried if len(talk) >= 2 * chat.MOST_TURNS - 1}
        assert said == set(chat.CONTENTS)
    assert {talk[0][1] for talk in tried if talk[0][0] == "system"} == set(chat.SYSTEMS)
    assert all(talk[-1][0] == "user" for talk in tried)
