"""Tiny pipelines with random weights, written as folders: the real classes of diffusers and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LATENT = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SIDE = 8  # of the latent
WIDTH = 32  # of every text encoder
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def clip_tokenizer() -> CLIPTokenizer:
    """Letters, letters that end a word, and one merge: enough to tell captions apart."""
    letters = LETTERS.strip()
    tokens = [*letters, *(f"{c}</w>" for c in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: n for n, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[("c", "a"), ("ca", "t</w>")], model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *LETTERS.strip(), "▁cat", "▁dog"]
    return T5Tokenizer(vocab=[(piece, -float(n > 3)) for n, piece in enumerate(pieces)], extra_ids=0)


def clip(projected: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=80,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=WIDTH,
        bos_token_id=54,
        eos_token_id=55,
        pad_token_id=55,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=40, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4))


def vae(channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=SIDE * 2,
    )


def unet(**options: Any) -> UNet2DConditionModel:
    common = {
        "sample_size": SIDE,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**common | options)


def sd(scheduler: Any = None, **options: Any) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(**options),
        scheduler=scheduler or PNDMScheduler(**LATENT, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd2() -> StableDiffusionPipeline:
    return sd(DDIMScheduler(**LATENT, prediction_type="v_prediction", steps_offset=1, clip_sample=False))


def sdxl() -> StableDiffusionXLPipeline:
    extra = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(cross_attention_dim=2 * WIDTH, projection_class_embeddings_input_dim=WIDTH + 6 * 8, **extra),
        scheduler=EulerDiscreteScheduler(**LATENT),
        add_watermarker=False,
    )


def pixart(sized: bool = True) -> PixArtAlphaPipeline | PixArtSigmaPipeline:
    net = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        caption_channels=WIDTH,
        sample_size=SIDE,
        patch_size=2,
        use_additional_conditions=sized,
    )
    make = PixArtAlphaPipeline if sized else PixArtSigmaPipeline
    scheduler = DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02)
    return make(tokenizer=t5_tokenizer(), text_encoder=t5(), vae=vae(), transformer=net, scheduler=scheduler)


def pixart_sigma() -> PixArtAlphaPipeline | PixArtSigmaPipeline:
    return pixart(sized=False)


def sd3(with_t5: bool = True) -> StableDiffusion3Pipeline:
    net = SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    encoder = None
    if with_t5:
        encoder = T5EncoderModel(T5Config(vocab_size=40, d_model=2 * WIDTH, d_kv=8, d_ff=48, num_layers=1, num_heads=4))
    return StableDiffusion3Pipeline(
        transformer=net,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16),
        text_encoder=clip(projected=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=encoder,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )


def sd3_without_t5() -> StableDiffusion3Pipeline:
    return sd3(with_t5=False)


MAKERS = {
    "sd": sd,
    "sd2": sd2,
    "sdxl": sdxl,
    "pixart": pixart,
    "pixart-sigma": pixart_sigma,
    "sd3": sd3,
    "sd3-without-t5": sd3_without_t5,
}


def write(name: str, folder: Path, **options: Any) -> Path:
    """Make a pipeline with weights drawn from one seed, none of them zero, and save it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = MAKERS[name]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                for value in part.parameters():
                    value.data += 0.05 * torch.randn_like(value)  # final layers start at zero: nothing would show
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipe.save_pretrained(folder, **options)
    return folder


def edit(file: Path, **values: Any) -> None:
    """Change a JSON file's fields."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
