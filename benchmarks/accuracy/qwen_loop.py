"""One optimizer step of Qwen3.5-0.8B as FakeGPU's authors measured it, in our own words.

    python qwen_loop.py full|lora TOKENS ACCUMULATION CHECKPOINTED

In bfloat16 from the sizes of its configuration, without its weights: a sequence of TOKENS a
micro-batch, half of them without labels; AdamW, one tensor at a time; LoRA of rank 8 on all linear
layers by peft. The outputs of the last micro-batch are kept through the step.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

SIZES = {
    "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 24,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
    "linear_num_key_heads": 16, "linear_num_value_heads": 16, "tie_word_embeddings": True,
}  # fmt: skip
PARAMETERS = {"full": 752_393_024, "lora": 5_411_328}  # that are trained, as they say


def model_of(method: str, checkpointed: bool) -> nn.Module:
    """The network on the host, with the parameters that are trained."""
    from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    model: nn.Module = Qwen3_5ForCausalLM._from_config(
        Qwen3_5TextConfig(**SIZES), dtype=torch.bfloat16
    )
    model.config.use_cache = False
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                r=8, lora_alpha=16, bias="none", task_type="CAUSAL_LM", target_modules="all-linear"
            ),
        )
    if checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if method == "lora":
            model.enable_input_require_grads()
    return model.train()


def batch(tokens: int) -> dict[str, Tensor]:
    """One sequence with its labels."""
    words = torch.randint(100, 1000, (1, tokens))
    labels = words.clone()
    labels[:, : tokens // 2] = -100
    places = torch.arange(tokens).view(1, 1, tokens).expand(3, 1, tokens).clone()
    return {"input_ids": words, "labels": labels, "position_ids": places}


def main(method: str, tokens: int, accumulation: int, checkpointed: bool) -> None:
    """Take the step."""
    torch.nn.init.normal_ = lambda tensor, *_, **__: tensor  # type: ignore[assignment]  # values do not count
    model = model_of(method, checkpointed).to("cuda")
    trained = [one for one in model.parameters() if one.requires_grad]
    count = sum(one.numel() for one in trained)
    if count != PARAMETERS[method]:
        raise SystemExit(f"{count:,} parameters are trained here and {PARAMETERS[method]:,} there")
    batches = [
        {name: one.to("cuda") for name, one in batch(tokens).items()} for _ in range(accumulation)
    ]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, foreach=False)
    for number, one in enumerate(batches, 1):
        outputs = model(**one, use_cache=False)
        loss = outputs.loss / accumulation
        loss.backward()
        if number < accumulation:
            del outputs, loss
    optimizer.step()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
