#!/usr/bin/env python3
"""Write vectors.txt: dialogues as the templates' sources write them, and the ids that SentencePiece gives for them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install jinja2==3.1.6 sentencepiece==0.2.1
    /tmp/venv/bin/pip install --no-deps fschat==0.2.36
    /tmp/venv/bin/python tests/golden/templates/make.py > tests/golden/templates/vectors.txt

Jinja texts are rendered as transformers does it (trim_blocks, lstrip_blocks, raise_exception); what stands between two
symbols is one text for SentencePiece. Symbols come from the template only: what looks like one in a turn is text. The
models are those of tests/data, whatever model the template was made for; symbols that they lack get ids beyond them.

Format, one item a line; text is UTF-8 in hex ("-" if empty):
    dialogue TEMPLATE NAME  starts one
    system|user|assistant TEXT
    ids N N N ...           a supervised id has a * behind it: it holds a part of a response, or ends one
"""

import re
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple, NoReturn

from fastchat.conversation import get_conv_template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from sentencepiece import SentencePieceProcessor

sys.path.append(str(Path(__file__).parent.parent))
from dialogues import DIALOGUES, joined, text_hex  # noqa: E402

DATA = Path(__file__).parent.parent.parent / "data"
Turns = list[tuple[str, str]]

# meta-llama/Llama-2-7b-chat-hf, tokenizer_config.json
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)

# 01-ai/Yi-34B-Chat, tokenizer_config.json
CHATML = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# HuggingFaceH4/zephyr-7b-beta, tokenizer_config.json; its tokenizer puts a bos before a text.
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)

# allenai/open-instruct, open_instruct/finetune.py, with add_bos; the branch for a system prompt is that of
# _concat_messages there.
TULU = (
    "{{ bos_token }}{% for message in messages %}\n{% if message['role'] == 'system' %}\n"
    "{{ '<|system|>\\n' + message['content'] }}\n{% elif message['role'] == 'user' %}\n"
    "{{ '<|user|>\\n' + message['content'] }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)

# google/gemma-3-1b-it, tokenizer_config.json, without its branches for images
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""


def symbol(name: str) -> str:
    """Stands for a symbol in a text; no turn holds these characters."""
    return f"\U000f0000{name}\U000f0001"


def refuse(message: str) -> NoReturn:
    raise ValueError(message)


def jinja(text: str, *symbols: str) -> Callable[[Turns], str]:
    environment: Any = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    for name in symbols:
        text = text.replace(name, symbol(name))
    template = environment.from_string(text)

    def render(turns: Turns) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return template.render(messages=messages, bos_token=symbol("bos"), eos_token=symbol("eos"))

    return render


def vicuna(turns: Turns) -> str:
    conversation = get_conv_template("vicuna_v1.1")
    conversation.sep2 = symbol("eos")
    for role, content in turns:
        if role == "system":
            conversation.set_system_message(content)
        else:
            conversation.append_message(conversation.roles[role == "assistant"], content)
    return conversation.get_prompt()


class Source(NamedTuple):
    render: Callable[[Turns], str]
    model: str
    header: str  # from the turn before to where a response's labels begin
    adds_bos: bool = False  # the model's tokenizer does, to each text
    symbols: tuple[str, ...] = ()  # beyond the model's own
    # What cannot be compared: here an empty turn stands for one that is still to be said.
    leaves_out: tuple[str, ...] = ()


IM, TURN = ("<|im_start|>", "<|im_end|>"), ("<start_of_turn>", "<end_of_turn>")
SOURCES = {
    "llama2": Source(jinja(LLAMA2), "mistral-v1", ""),
    "chatml": Source(jinja(CHATML, *IM), "mistral-v3", symbol(IM[0]) + "assistant\n", symbols=IM),
    "zephyr": Source(jinja(ZEPHYR), "mistral-v1", "<|assistant|>\n", adds_bos=True),
    "tulu": Source(jinja(TULU), "mistral-v1", "<|assistant|>\n"),
    "vicuna": Source(
        vicuna, "mistral-v1", "ASSISTANT: ", True, leaves_out=("empty instruction", "empty instruction with system")
    ),
    "gemma": Source(jinja(GEMMA, *TURN), "mistral-v3", symbol(TURN[0]) + "model\n", symbols=TURN),
}


def spans(source: Source, turns: Turns) -> list[tuple[int, int]]:
    """Where in the rendered text labels are: each response, up to the end of the first symbol after it."""
    found = []
    for k, (role, _) in enumerate(turns):
        if role == "assistant":
            before, after = source.render(turns[:k]), source.render(turns[: k + 1])
            assert after.startswith(before + source.header)
            start = len(before + source.header)
            found.append((start, after.index("\U000f0001", start) + 1))
    return found


def encode(source: Source, model: SentencePieceProcessor, turns: Turns) -> list[tuple[int, bool]]:
    ids = {"bos": model.bos_id(), "eos": model.eos_id()}
    ids.update({name: model.vocab_size() + i for i, name in enumerate(source.symbols)})
    text = source.render(turns)
    labels = spans(source, turns)
    marked = [(ids["bos"], False)] if source.adds_bos else []
    for match in re.finditer("\U000f0000(.*?)\U000f0001|[^\U000f0000]+", text, re.DOTALL):
        at = match.start()
        if match[1] is not None:
            marked.append((ids[match[1]], any(start < at < end for start, end in labels)))
            continue
        for piece in model.encode(match[0], out_type="immutable_proto").pieces:
            # All bytes of a character but the last have no part of the text: they are where it begins.
            begin, end = at + piece.begin, at + max(piece.end, piece.begin + 1)
            marked.append((piece.id, any(begin < stop and end > start for start, stop in labels)))
    return marked


def main() -> None:
    print("# made by make.py")
    for name, source in SOURCES.items():
        model = SentencePieceProcessor(model_file=str(DATA / f"{source.model}.model"))
        for title, turns in DIALOGUES.items():
            turns = [turn for turn in joined(turns) if turn != ("system", "")]
            if title in source.leaves_out:
                continue
            print(f"\ndialogue {name} {title}")
            for role, text in turns:
                print(role, text_hex(text))
            print("ids", *(f"{i}*" if supervised else f"{i}" for i, supervised in encode(source, model, turns)))


if __name__ == "__main__":
    main()
