"""Adds the built program to the wheel, and names the systems that it runs on.

A wheel's tag tells pip on which systems it may be installed. On Linux that depends on the C library: a program built
with a new glibc does not start on an older one.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


def platform_tag(program: Path) -> str:
    """The platform of the wheel: on Linux `manylinux_2_N_…`, where 2.N is the oldest glibc that has all symbols.

    The names of the versions are searched in the whole file. One that is there by chance makes N larger than needed,
    which is safe.
    """
    if platform.system() != "Linux":
        return next(platform_tags())
    versions = re.findall(rb"GLIBC_2\.(\d+)", program.read_bytes())
    if not versions:
        raise ValueError(f"{program} uses no glibc; which systems it runs on is unknown")
    return f"manylinux_2_{max(map(int, versions))}_{platform.machine()}"


class AddProgram(BuildHookInterface):
    """Called by hatchling; build.sh sets DENSECL_PROGRAM."""

    def initialize(self, version: str, build_data: dict) -> None:
        program = Path(os.environ["DENSECL_PROGRAM"])
        build_data["shared_scripts"][str(program)] = program.name
        build_data["tag"] = f"py3-none-{platform_tag(program)}"
        build_data["pure_python"] = False
