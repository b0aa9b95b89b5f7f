"""Who made a package: its manifest, which holds the hash of every file, signed with an SSH key.

Hashes show that a package was changed, not who wrote it: whoever may write models/ can write new hashes too. `ssh-keygen -Y`
(OpenSSH 8.1 and later) signs with the keys that people sign their commits with, and a server that verifies holds no secret.
Both settings are variables of the environment, since who may change the project may change a setting in it:

    RECIPE_SIGNING_KEY  a private key, or the public part of one that ssh-agent holds: `recipe export` signs with it
    RECIPE_SIGNERS      a file of lines "name ssh-ed25519 AAAA...": no package that none of these signed is promoted or loaded
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..owner.errors import UserError

KEY, SIGNERS = "RECIPE_SIGNING_KEY", "RECIPE_SIGNERS"
NAMESPACE = "recipe-model"  # a signature made for another purpose does not fit
SUFFIX = ".sig"  # as ssh-keygen names it


def sign(manifest: Path) -> None:
    """Write the signature beside the manifest, where RECIPE_SIGNING_KEY names a key."""
    if key := os.environ.get(KEY):
        done = _ssh("sign", "-f", key, "-n", NAMESPACE, str(manifest))
        if done.returncode:
            raise UserError(
                f"${KEY} = {key} cannot sign: {_said(done)}; name a private key, or a public one that ssh-agent holds"
            )


def require_signature(manifest: Path) -> None:
    """Raise UserError where RECIPE_SIGNERS names a file and nobody in it signed this manifest as it is."""
    if not (signers := os.environ.get(SIGNERS)):
        return
    version, signature = manifest.parent.name, manifest.with_name(manifest.name + SUFFIX)
    if not Path(signers).is_file():
        raise UserError(f"${SIGNERS} = {signers} is no file; make one of lines 'name ssh-ed25519 AAAA...'")
    if not signature.is_file():
        again = f"ssh-keygen -Y sign -f KEY -n {NAMESPACE} {manifest}"
        raise UserError(f"{version} is not signed, and ${SIGNERS} asks for it; if you trust it, sign it: {again}")
    found = _ssh("find-principals", "-s", str(signature), "-f", signers)
    if found.returncode:
        raise UserError(f"{version} is signed by none of {signers}, which ${SIGNERS} names; use a version that is")
    signer = found.stdout.decode(errors="replace").split("\n")[0]
    given = ("-s", str(signature), "-f", signers, "-I", signer, "-n", NAMESPACE)
    if (done := _ssh("verify", *given, content=manifest.read_bytes())).returncode:
        raise UserError(f"the signature of {version} does not fit it ({_said(done)}); use a version that is signed")


def _ssh(action: str, *words: str, content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["ssh-keygen", "-Y", action, *words], input=content, capture_output=True, check=False)
    except OSError:
        raise UserError(f"${KEY} and ${SIGNERS} need ssh-keygen, which is not installed; install OpenSSH") from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().split("\n")
    return lines[-1].strip()
