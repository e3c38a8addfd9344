#!/usr/bin/env bash
# LoRA on the U-Net and on the text encoder, of every style, and the test set: train_all.sh of a published entry to the
# Jittor challenge (f-chen165/jittor--AI---) under a name that says what it trains. All of train_all.sh's variables count:
#   SUITE=jittor_b            the suite, a file or the name of one with method: lora (demo_lora, jittor_a)
#   STYLES="00,05" GPUS=0,1   only these styles; one process per GPU
# and these, each in place of what the suite says:
#   BASE=models/stable-diffusion-2-1   folder of the base model
#   DATA=data/B                        folder of <NN>/images/* and <NN>/prompt.json
#   LORA_RANK=4 STEPS=700 LR_UNET=4e-5 LR_TEXT=3e-5 LR_FEATURE=1e-3
# Runs go to runs/<suite>-text-unet. Further arguments go to the command: bash scripts/train_text_unet.sh --set seed=3
set -euo pipefail
# Not NAME nor RANK: WSL sets the one, launchers of several processes the other.
feature=${LORA_FEATURE:-false} suffix=text-unet
[[ "$feature" != true ]] || suffix=text-unet-vae
suite=${SUITE:-jittor_b} name=${suite##*/}
changes=("--set=suite=\"${name%.yaml}-$suffix\"" "--set=lora.feature.on=$feature")
for pair in BASE=base DATA=data LORA_RANK=lora.rank STEPS=lora.steps LR_UNET=lora.lr_unet LR_TEXT=lora.lr_text \
        LR_FEATURE=lora.feature.lr; do
    variable=${pair%%=*}
    [[ -z "${!variable:-}" ]] || changes+=("--set=${pair#*=}=${!variable}")
done
echo "$suite, with ${changes[*]}" >&2
SUITE=$suite METHOD=lora exec bash "$(dirname "${BASH_SOURCE[0]}")/../train_all.sh" "${changes[@]}" "$@"
