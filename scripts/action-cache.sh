#!/usr/bin/env bash
# Names the cache of the installation: a folder of its own, and a key that changes with whatever decides what is downloaded.
set -euo pipefail

key=$(
  {
    cat -- "$ACTION_PATH/constraints.txt" "$ACTION_PATH/pyproject.toml"
    printf '%s\n' "${PIP_INDEX_URL:-}" "${PIP_EXTRA_INDEX_URL:-}"
  } | "$PYTHON" -I -c 'import hashlib, platform, sys
digest = hashlib.sha256(sys.stdin.buffer.read()).hexdigest()
print(f"backdoor-gate-{platform.system()}-{platform.machine()}-{digest}")'
)
printf 'folder=%s\nkey=%s\n' "$RUNNER_TEMP/backdoor-gate-pip" "$key" >>"$GITHUB_OUTPUT"
