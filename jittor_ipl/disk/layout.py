"""What the files of this project's own folders are called; every name stands here alone."""

# A run folder, `runs/<suite>/<NN>-<style>`.
CONFIG = "config.yaml"                  # the resolved settings; a released style holds one, too
GENERATOR, MAPPER = "generator.safetensors", "mapper.safetensors"
LORA = "pytorch_lora_weights.safetensors"   # in place of a generator; the name that diffusers looks for
# What the pictures of a LoRA depend on besides, where they do: the VAE style feature, the mean of the style's pictures,
# and a folder with one of these, whose name says what it shows.
FEATURE, MEAN, SHOWN = "style_feature.safetensors", "mean.png", "shown"
PROMPTS = "prompts.json"                # of a LoRA's test set
FEW_SHOT = "few-shot"                   # the LoRA that a few pictures made of a teacher
PAIRS = "pairs"                         # the source's pictures as a teacher redrew them
REPORT = "report.json"                  # written last: a folder with one is finished
METRICS = "metrics.jsonl"
CHECKPOINTS, TENSORBOARD, SAMPLES = "checkpoints", "tensorboard", "samples"

# A results folder, `results/<suite>`, and a released one, `B_weight/<suite>`; a checkpoint has a manifest, too.
SEEDS, MANIFEST = "seeds.json", "manifest.json"
VERIFIED = "verified.json"              # of results: what `test.py --json` said of the pictures that are there
DELTA, REFERENCE = "weights.safetensors", "reference.png"   # of a released style
CARD = "README.md"                      # of a released LoRA, as hubs show it
