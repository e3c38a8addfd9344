"""Depths of InsightFace's residual trunks, for those who build them and those who recognise them (no Jittor)."""

# Units per resolution, by the number of layers: Deng et al. 2019's 50, 100 and 152, AdaFace's 18 and 34.
IR_UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
