"""A corpus that is tokenized in a moment, and the settings of a model that learns it in one."""

import random
from pathlib import Path

import yaml

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


def write_settings(place: Path) -> None:
    """Write the corpus to a folder, and `tiny.yaml`, a training of three objectives on it."""
    write_corpus(place / "corpus.jsonl")
    settings = {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 3,
            "log_every_n_steps": 1,
            "val_check_interval": 3,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        },
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"model_type": "llama", "config": BACKBONE | {"max_position_embeddings": 256}},
            "objectives": {
                "causal": "CausalLM",
                "masked": {"class_path": "MaskedLM", "init_args": {"mask_rate": 0.3}},
                "order": "SentenceOrder",
            },
        },
        "data": {
            "corpus": str(place / "corpus.jsonl"),
            "tokenizer": TOKENS,
            "seq_len": WINDOW,
            "global_batch_size": ROWS,
            "batch_multiple": 2,
            "validation_rows": 8,
            "cache": str(place / "cache"),
        },
    }
    (place / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
