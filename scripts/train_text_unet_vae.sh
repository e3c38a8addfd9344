#!/usr/bin/env bash
# The same as train_text_unet.sh, with the VAE style feature beside both: train_text_unet_ip_vae_encode.sh of the same
# published entry. Its variables count here, too; runs go to runs/<suite>-text-unet-vae.
set -euo pipefail
LORA_FEATURE=true exec bash "$(dirname "${BASH_SOURCE[0]}")/train_text_unet.sh" "$@"
