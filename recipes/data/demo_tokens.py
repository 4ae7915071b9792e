"""Token counts with the demo model's tokenizer, for the scripts that make the data sets."""

from collections.abc import Callable

from gemma_keras_tune.model.demo import demo_file
from gemma_keras_tune.model.gguf import gguf_tokenizer_proto
from gemma_keras_tune.model.gguf_file import read_gguf
from gemma_keras_tune.text.tokenizer import Tokenizer


def demo_token_counter() -> Callable[[str], int]:
    """A function that gives the number of tokens of a text, without markup."""
    tokenizer = Tokenizer(gguf_tokenizer_proto(read_gguf(demo_file()[0])))
    return lambda text: len(tokenizer.encode(text))
