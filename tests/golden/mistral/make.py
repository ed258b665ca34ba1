#!/usr/bin/env python3
"""Write vectors.txt: dialogues and the ids that mistral-common gives for them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install mistral-common==1.13.1 sentencepiece==0.2.3
    /tmp/venv/bin/python tests/golden/mistral/make.py > tests/golden/mistral/vectors.txt

The tokenizer models are the files that the mistral-common package brings along; those in tests/data are checked to be
the same. A dialogue that mistral-common refuses is an error here: take it out of ../dialogues.py.

Format, one item a line; text is UTF-8 in hex ("-" if empty):
    dialogue v1|v3 NAME     starts one
    system|user|assistant TEXT
    ids N N N ...           a supervised id has a * behind it
"""

import hashlib
import sys
from pathlib import Path

import mistral_common
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

sys.path.append(str(Path(__file__).parent.parent))
from dialogues import DIALOGUES, joined, text_hex  # noqa: E402

DATA = Path(__file__).parent.parent.parent / "data"
MODELS = {"v1": "tokenizer.model.v1", "v3": "mistral_instruct_tokenizer_240323.model.v3"}
MESSAGES = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}


def encode(tokenizer: MistralTokenizer, turns: list[tuple[str, str]]) -> list[tuple[int, bool]]:
    """The ids and whether they are supervised: those of the responses, each with its end of turn."""
    request = ChatCompletionRequest(messages=[MESSAGES[role](content=text) for role, text in turns])
    tokenizer._chat_completion_request_validator.validate_messages(request.messages)
    instruct = tokenizer.instruct_tokenizer
    normal = get_normalizer(instruct.tokenizer.version).from_chat_completion_request(request)
    marked: list[tuple[int, bool]] = [(i, False) for i in instruct.start()]
    first, last = instruct.find_first_last_user(normal)
    for k, message in enumerate(normal.messages):
        if isinstance(message, AssistantMessage):
            marked += [(i, True) for i in instruct.encode_assistant_message(message, k < last)]
        else:
            ids, _, _ = instruct.encode_user_message(
                message, None, k == last, k == first, system_prompt=normal.system_prompt, force_img_first=True
            )
            marked += [(i, False) for i in ids]
    # The parts above are put together as encode_instruct does; make sure of it.
    assert [i for i, _ in marked] == instruct.encode_instruct(normal).tokens
    return marked


def main() -> None:
    print(f"# made by make.py with mistral-common {mistral_common.__version__}")
    package = Path(mistral_common.__file__).parent / "data"
    for version, name in MODELS.items():
        ours = DATA / f"mistral-{version}.model"
        assert hashlib.sha256(ours.read_bytes()).digest() == hashlib.sha256((package / name).read_bytes()).digest()
        tokenizer = MistralTokenizer.from_file(str(package / name), mode=ValidationMode.agnostic)
        for title, turns in DIALOGUES.items():
            try:
                marked = encode(tokenizer, turns)
            except Exception as e:
                sys.exit(f"{version} {title}: {type(e).__name__}: {e}")
            print(f"\ndialogue {version} {title}")
            for role, text in joined(turns):
                print(role, text_hex(text))
            print("ids", *(f"{i}*" if supervised else f"{i}" for i, supervised in marked))


if __name__ == "__main__":
    main()
