"""Builds the compiled kernels where a compiler is at hand; everything else is in pyproject.toml.

Without a compiler the installation goes on, and products run in torch. `upsize doctor` says which it is.
"""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("src/upsize/compute/native/csrc")
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vnni")), "-mprefer-vector-width=512"]
LEVELS = {"plain": [], "avx2": AVX2, "avx512_vnni": AVX512, "avx512_bf16": [*AVX512, "-mavx512bf16"]}
"""What kernels.cpp is compiled for, each time with its own flags; the best that a processor has runs."""
# gcc 12 takes values that its own intrinsics leave undefined for a mistake.
QUIET = [f"-Wno-{warning}" for warning in ("psabi", "unknown-pragmas", "uninitialized", "maybe-uninitialized")]
COMMON = ["-O3", "-g0", "-std=c++17", "-fno-math-errno", *QUIET]


class BuildKernels(build_ext):
    """A shared library of several objects, of which one source gives one for each level."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link; a failure is reported and passed over, for the extension is optional."""
        x86 = platform.machine() in ("x86_64", "AMD64")
        units = [(name, "common", []) for name in ("pool.cpp", "mapped.cpp", "api.cpp")]
        units += [
            ("kernels.cpp", level, [f"-DUPSIZE_LEVEL={level}", *flags])
            for level, flags in LEVELS.items()
            if x86 or level == "plain"
        ]
        objects = []
        for source, folder, flags in units:
            objects += self.compiler.compile(
                [str(CSRC / source)],
                output_dir=str(Path(self.build_temp) / folder),
                extra_postargs=[*COMMON, *flags],
                depends=ext.depends,
            )
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=["-pthread"], target_lang="c++"
        )


setup(
    ext_modules=[
        Extension(
            "upsize.compute.native.libupsize",
            [str(CSRC / name) for name in ("pool.cpp", "mapped.cpp", "api.cpp", "kernels.cpp")],
            depends=[str(path) for path in CSRC.glob("*.h")],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
