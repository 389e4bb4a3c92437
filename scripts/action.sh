#!/usr/bin/env bash
# The scan step of action.yml. Every input arrives in the environment, so no input is ever read as shell code.
# Sets the step's outputs whatever happens, and exits with the gate's code: zero only for a PASS. The gate itself appends
# its Markdown report to the step's summary.
set -euo pipefail

# A fresh folder, so that a report of an earlier step is never taken for this one's.
folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/backdoor-gate-reports.XXXXXX") || exit 70
json="$folder/report.json"
annotations="$folder/annotations.txt"

# Only a scan that ended with zero is judged again, by its report.
finish() {
  local judged=0
  python -I -m backdoor_gate.github "$1" "$json" || judged=$?
  exit "$(($1 == 0 ? judged : $1))"
}

usage_error() {
  echo "backdoor-gate action: $1" >&2
  finish 2
}

[[ -n "${GATE_MODEL:-}" ]] || usage_error "the input 'model' is required"
[[ -n "${GATE_POLICY:-}" ]] || usage_error "the input 'policy' is required"

arguments=("--policy=$GATE_POLICY" "--report=json=$json" "--report=annotations=$annotations")

if [[ "${GATE_REPORTS:-}" =~ [^[:space:]] ]]; then
  while IFS= read -r line; do
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line%"${line##*[![:space:]]}"}"
    [[ -z "$line" ]] || arguments+=("--report=$line")
  done <<<"$GATE_REPORTS"
else
  arguments+=("--report=junit=$folder/junit.xml" "--report=markdown=$folder/report.md")
fi

[[ -z "${GATE_DATA:-}" ]] || arguments+=("--data=$GATE_DATA")
[[ -z "${GATE_DEVICE:-}" ]] || arguments+=("--device=$GATE_DEVICE")
[[ -z "${GATE_BUDGET:-}" ]] || arguments+=("--budget=$GATE_BUDGET")

# Publishing is the command's own default where there is a registry; asking for it elsewhere would be an error.
case "${GATE_PUBLISH:-true}" in
  true) ;;
  false) arguments+=(--no-publish) ;;
  *) usage_error "the input 'publish' must be 'true' or 'false'" ;;
esac

if [[ -n "${GATE_TRACKING_URI:-}" ]]; then
  export MLFLOW_TRACKING_URI="$GATE_TRACKING_URI"
fi

# Names that come from the candidate reach the log: until the token, the runner reads no line of it as a command. It reads
# both streams, each at its own pace, so that only one stream ends before the token.
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
code=0
backdoor-gate scan "${arguments[@]}" -- "$GATE_MODEL" 2>&1 || code=$?
# On a line of its own, wherever the scan stopped writing.
printf '\n::%s::\n' "$token"

# Workflow commands that the gate wrote for the runner to read, with every name in them escaped.
cat -- "$annotations" 2>/dev/null || true

finish "$code"
