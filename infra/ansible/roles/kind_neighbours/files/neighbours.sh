# shellcheck shell=sh
# In a node: put the settings of pgdrill.conf in force, now and after a restart; prints what it did.
set -eu
mode=$1 wanted=$2 file=/etc/sysctl.d/pgdrill.conf

in_force() {
  grep '^net' "$file" | while IFS=' =' read -r name value; do
    [ "$(sysctl -n "$name")" = "$value" ] || return 1
  done
}

if [ "$(cat "$file" 2> /dev/null)" != "$wanted" ] || ! in_force; then
  if [ "$mode" = make ]; then
    printf '%s\n' "$wanted" > "$file"
    sysctl --quiet --load="$file"
  fi
  echo "made $file"
fi
