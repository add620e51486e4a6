"""A corpus that is tokenized in a moment, and the settings of a model that learns it in one."""

import random
from pathlib import Path

WORDS = ("dog", "cat", "bird", "son", "sea", "hill", "home", "runs", "sits", "goes", "came", "away", "the", "one", "my")
BACKBONE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "tie_word_embeddings": True,
}
TOKENS, WINDOW, ROWS = 300, 32, 12


def write_corpus(path: Path) -> Path:
    """Documents of two paragraphs of six sentences, in one file of JSON lines: enough to hold out whole ones."""
    draw = random.Random(0)
    lines = []
    for _ in range(26):
        sentences = [f"{' '.join(draw.choices(WORDS, k=draw.randint(3, 6))).capitalize()}." for _ in range(12)]
        text = "\\n\\n".join(" ".join(sentences[at : at + 6]) for at in range(0, 12, 6))
        lines.append(f'{{"text": "{text}"}}\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path
