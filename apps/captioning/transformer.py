"""The small transformer decoder, of random weights."""

from torch import nn
from transformers import GPT2Config

from ..vocabulary import Vocabulary
from .language_model import build_decoder, plain_config
from .options import HeadOptions


def build_transformer(options: HeadOptions, vocabulary: Vocabulary) -> nn.Module:
    """Return a causal decoder with cross-attention, shaped like GPT-2 (Radford 2019; Vaswani 2017, section 3.1)."""
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=options.max_tokens + 2,
        n_embd=options.width,
        n_layer=options.layers,
        n_head=options.attention_heads,
        resid_pdrop=options.dropout,
        embd_pdrop=options.dropout,
        attn_pdrop=options.dropout,
        add_cross_attention=True,
        bos_token_id=vocabulary.start,
        eos_token_id=vocabulary.end,
        pad_token_id=vocabulary.pad,
    )
    return build_decoder(plain_config(config))
