"""The text encoder of Stable Diffusion (transformers' CLIPTextModel): config.json -> every name and shape."""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.diffusion import fields
from jittor_ipl.weights.families.diffusion.blocks import axis, children
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, linear, norm

POSITION_IDS = r"(text_model\.)?embeddings\.position_ids"    # a buffer that old transformers saved: 0, 1, 2, ...
_PROJECTED = "CLIPTextModelWithProjection"
_layers = partial(fields.count, most=256)


def _architectures(value: Any, name: str) -> list[str]:
    entries = value if isinstance(value, (list, tuple)) else [value or "CLIPTextModel"]
    return [fields.one_of(entry, name, ("CLIPTextModel", _PROJECTED)) for entry in entries]


FIELDS = fields.Fields(
    class_name="CLIPTextModel",
    used={"vocab_size": (49408, fields.count), "hidden_size": (512, fields.count),
          "intermediate_size": (2048, fields.count), "num_hidden_layers": (12, _layers),
          "num_attention_heads": (8, _layers), "max_position_embeddings": (77, fields.count),
          "hidden_act": ("quick_gelu", partial(fields.one_of, known=("quick_gelu", "gelu"))),
          "layer_norm_eps": (1e-5, fields.number), "projection_dim": (512, fields.count),
          "architectures": (("CLIPTextModel",), _architectures), "eos_token_id": (2, fields.number)},
    only={"model_type": ("clip_text_model",), "add_cross_attention": (False,), "is_decoder": (False,)},
    # Training, generation and bookkeeping fields of every transformers config.
    harmless=frozenset((
        "attention_dropout dropout initializer_factor initializer_range torch_dtype dtype transformers_version "
        "bos_token_id pad_token_id sep_token_id decoder_start_token_id return_dict use_return_dict "
        "output_attentions output_hidden_states torchscript pruned_heads tie_word_embeddings "
        "chunk_size_feed_forward is_encoder_decoder cross_attention_hidden_size tie_encoder_decoder finetuning_task "
        "id2label label2id task_specific_params problem_type tokenizer_class prefix max_length min_length do_sample "
        "early_stopping num_beams temperature top_k top_p typical_p repetition_penalty length_penalty "
        "no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores "
        "return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values "
        "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens num_beam_groups diversity_penalty "
        "tf_legacy_loss use_bfloat16 attn_implementation").split()))


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a CLIPTextModel from its config.json; UserError for what is unknown or unsupported.

    The one in `architectures` says whether the file also holds text_projection (CLIPTextModelWithProjection).
    """
    numbers = fields.read_fields(config, FIELDS)
    if numbers["hidden_size"] % numbers["num_attention_heads"]:
        raise UserError(f"num_attention_heads {numbers['num_attention_heads']} do not divide {numbers['hidden_size']}")
    return numbers


def tower_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of our `TextConfig` from those of `text_config`."""
    end = numbers["eos_token_id"]       # 2 in files from before it was stated right: the highest id, as OpenAI means
    return {"context_length": numbers["max_position_embeddings"], "vocab_size": numbers["vocab_size"],
            "transformer_width": numbers["hidden_size"], "transformer_heads": numbers["num_attention_heads"],
            "transformer_layers": numbers["num_hidden_layers"], "transformer_mlp": numbers["intermediate_size"],
            "activation": numbers["hidden_act"], "eps": numbers["layer_norm_eps"],
            "end_token": None if end == 2 else int(end),
            "embed_dim": numbers["projection_dim"] if _PROJECTED in numbers["architectures"] else None}


def config_of_tower(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' config.json for the fields of a `TextConfig`, the way back of `tower_numbers`."""
    width, projected = numbers["transformer_width"], numbers["embed_dim"] is not None
    return {"model_type": "clip_text_model", "architectures": [_PROJECTED if projected else "CLIPTextModel"],
            "max_position_embeddings": numbers["context_length"], "vocab_size": numbers["vocab_size"],
            "hidden_size": width, "num_attention_heads": numbers["transformer_heads"],
            "num_hidden_layers": numbers["transformer_layers"],
            "intermediate_size": numbers["transformer_mlp"] or 4 * width, "hidden_act": numbers["activation"],
            "layer_norm_eps": numbers["eps"], "projection_dim": numbers["embed_dim"] or width,
            "eos_token_id": 2 if numbers["end_token"] is None else numbers["end_token"]}


def text_schema(numbers: Mapping[str, Any]) -> Schema:
    """Return every tensor's name and shape of the network with these numbers (of `text_config`)."""
    width, inner = numbers["hidden_size"], numbers["intermediate_size"]
    schema = {"text_model.embeddings.token_embedding.weight": (numbers["vocab_size"], width),
              "text_model.embeddings.position_embedding.weight": (numbers["max_position_embeddings"], width)}
    for index in range(numbers["num_hidden_layers"]):
        name = f"text_model.encoder.layers.{index}"
        for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
            schema |= linear(f"{name}.self_attn.{projection}", width, width)
        schema |= norm(f"{name}.layer_norm1", width)
        schema |= linear(f"{name}.mlp.fc1", inner, width) | linear(f"{name}.mlp.fc2", width, inner)
        schema |= norm(f"{name}.layer_norm2", width)
    schema |= norm("text_model.final_layer_norm", width)
    if _PROJECTED in numbers["architectures"]:
        schema |= linear("text_projection", numbers["projection_dim"], width, bias=False)
    return schema


def guess_text_config(shapes: Shapes) -> dict[str, Any]:
    """Return the config that fits these tensors, for a file without config.json.

    Heads (of 64 channels in every published one) and the activation leave no trace in the shapes.
    """
    tokens = "text_model.embeddings.token_embedding.weight"
    width, projection = axis(shapes, tokens, 1, 768), "text_projection.weight" in shapes
    return {"vocab_size": axis(shapes, tokens, 0, 49408), "hidden_size": width,
            "max_position_embeddings": axis(shapes, "text_model.embeddings.position_embedding.weight", 0, 77),
            "intermediate_size": axis(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", 0, 4 * width),
            "num_hidden_layers": children(shapes, "text_model.encoder.layers.") or 1,
            "num_attention_heads": width // 64 if width % 64 == 0 else 1,
            "projection_dim": axis(shapes, "text_projection.weight", 0, 512),
            "architectures": [_PROJECTED if projection else "CLIPTextModel"]}
