"""Text-driven image-domain adaptation on Jittor.

Importing this package imports neither Jittor nor NumPy: `python -m jittor_ipl --help` stays fast, and a web server can
use the light modules without the framework. `jittor_ipl.runtime.backend` is the one door to Jittor.
"""

__version__ = "0.1.0"
