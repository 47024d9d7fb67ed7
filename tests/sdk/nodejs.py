"""Runs scripts of Node that import the packages pinned in `node/`."""

import os
import shutil
import subprocess
from pathlib import Path

from gateway import ROOT

NODE_MODULES = Path(
    os.environ.get("RELAYFREELLM_NODE_MODULES", ROOT / "target" / "sdk-node" / "node_modules")
)


def run_node(script, folder, env, *options):
    """The finished process.

    An import is looked for beside the script and above it, so the script is copied to `folder`, as
    a user would copy it into a project of theirs.
    """
    (folder / "node_modules").symlink_to(NODE_MODULES, target_is_directory=True)
    shutil.copy(script, folder)
    return subprocess.run(
        ["node", *options, script.name],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
