#!/usr/bin/env bash
# Installs the gate, with its pinned dependencies, into an environment of its own: the job's Python stays as it is.
set -euo pipefail

if [[ "${RUNNER_OS:-}" == Windows ]]; then
  echo "::error title=Backdoor gate::the action runs on Linux and macOS runners"
  exit 2
fi

environment="$RUNNER_TEMP/backdoor-gate-venv"
if [[ -n "${CACHE:-}" ]]; then
  mkdir -p "$CACHE"
  export PIP_CACHE_DIR="$CACHE"
fi
"$PYTHON" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  --constraint "$ACTION_PATH/constraints.txt" "$ACTION_PATH"
