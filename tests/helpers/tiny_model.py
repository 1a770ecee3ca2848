"""A model file of a few hundred kilobytes that says what it was told to: made here, with no training and no download.

It is a bigram model. Every piece of a scripted reply is a token of its own, whose one successor is the next piece; the
last one's is the end of the turn. The chat template writes a token for the number of replies so far where a reply is to
begin, and that token's successor is the reply's first piece. A real inference server does all the rest: it renders the
template, counts tokens, caches the prompt, builds a grammar of the tools and parses reasoning and calls out again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gguf
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TEMPLATE: Final = Path(__file__).with_name("tiny_model.jinja")
_WINDOW: Final = 131_072  # What the file says it was trained for; the server is started with less.
_HEAD: Final = 16  # Numbers in the one attention head. It adds nothing to the result, so it may be small.
_FEED_FORWARD: Final = 16
_PIECE: Final = 12  # Characters of a reply that are one token.
_SURE: Final = 10.0  # A logit's size before the norm: no temperature gets past it.
_TRIGGER: Final = "<tool_call>\n"  # Starts the grammar. Were it one token, the server would want it marked as special.
_END, _BEGIN_TURN, _END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def said(text: str = "", *, reasoning: str = "", calls: Iterable[tuple[str, dict[str, Any]]] = ()) -> str:
    """Return a reply as the model writes it. `calls` are (name, arguments)."""
    parts = [f"<think>\n{reasoning}\n</think>\n"] if reasoning else []
    parts += [text] if text else []
    for name, arguments in calls:
        call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        parts.append(f"<tool_call>\n{call}\n</tool_call>")
    return "\n".join(parts)


def write_model(path: Path, replies: Sequence[str]) -> None:
    """Write a model that gives `replies`, each of them different, in order; the last one again for ever after."""
    tokens = _bytes()
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    follows: list[tuple[int, int]] = []

    def add(text: str, kind: gguf.TokenType) -> int:
        tokens.append(text)
        kinds.append(kind)
        return len(tokens) - 1

    end, _, end_turn = (add(text, gguf.TokenType.CONTROL) for text in (_END, _BEGIN_TURN, _END_TURN))
    seen = {_TRIGGER, *tokens}
    for number, reply in enumerate(replies):
        last = add(f"<|reply{number}|>", gguf.TokenType.CONTROL)
        for piece in _pieces(reply, seen):
            new = add(piece, gguf.TokenType.USER_DEFINED)
            follows.append((last, new))
            last = new
        follows.append((last, end_turn))
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, tokens, kinds, end=end, end_turn=end_turn)
    writer.add_chat_template(_TEMPLATE.read_text(encoding="utf-8").replace("@LAST@", str(len(replies) - 1)))
    _weigh(writer, len(tokens), follows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pieces(reply: str, seen: set[str]) -> list[str]:
    """Cut a reply into texts that aren't in `seen` yet, and put them there: no two tokens may have the same."""
    pieces: list[str] = []
    start = 0
    while start < len(reply):
        stop = start + _PIECE
        while reply[start:stop] in seen and stop < len(reply):
            stop += 1
        while reply[start:stop] in seen:  # The reply's end can only grow backwards.
            start -= len(pieces.pop())
        pieces.append(reply[start:stop])
        seen.add(pieces[-1])
        start = stop
    return pieces


def _bytes() -> list[str]:
    """Return the 256 tokens of single bytes, written as GPT-2's tokenizer writes them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def _describe(
    writer: gguf.GGUFWriter, tokens: list[str], kinds: list[gguf.TokenType], *, end: int, end_turn: int
) -> None:
    writer.add_context_length(_WINDOW)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(1)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])  # The format insists on one.
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end_turn)
    writer.add_add_bos_token(value=False)


def _weigh(writer: gguf.GGUFWriter, vocabulary: int, follows: list[tuple[int, int]]) -> None:
    """Give each token that has a successor a dimension of its own; attention and feed-forward add nothing."""
    width = 1 << max(5, (len(follows) - 1).bit_length())
    embedding, output = (np.zeros((vocabulary, width), np.float32) for _ in range(2))
    for dimension, (token, successor) in enumerate(follows):
        embedding[token, dimension] = 1.0
        output[successor, dimension] = _SURE
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v"), (_HEAD, width)) | {"attn_output": (width, _HEAD)}
    shapes |= {"ffn_gate": (_FEED_FORWARD, width), "ffn_up": (_FEED_FORWARD, width), "ffn_down": (width, _FEED_FORWARD)}
    writer.add_embedding_length(width)
    writer.add_tensor("token_embd.weight", embedding)
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float16))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", output)
