#!/bin/sh
# Drill a cluster from a CI job: look at what it needs, run the tests, post the verdicts. For action.yml and
# gitlab.yml, or by hand: drill.sh [arguments of pytest]. Settings: pgdrill.toml here, or PGDRILL_* variables.
# The exit code is that of what failed first; the verdicts are in verdicts.md, the page in reports/.
set -eu
python=${PYTHON:-python3}
platform=${PGDRILL_PLATFORM:-kube}
case $platform in kube | patroni) "$python" -m pgdrill "$platform" preflight ;; esac
code=0
"$python" -m pytest -p pgdrill.plugin "$@" || code=$?
if "$python" -m pgdrill report latest --markdown > verdicts.md; then
  cat verdicts.md >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
elif [ "$code" = 0 ]; then
  code=2 # a drill without a run to report has drilled nothing
fi
exit "$code"
