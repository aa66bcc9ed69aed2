# tests/tap.sh - for test scripts: results as TAP. Source it from the top folder; $dir is a folder that goes
# at the end.
#
#   check 'what' COMMAND...           one result, by the exit status; what a failing one says goes below
#   finds 'what' 'words' COMMAND...   one result: the command fails, and says the words
#   results                           the plan, when all is done
dir=$(mktemp -d) || exit 1
trap 'main_shell && rm -rf "$dir"' EXIT

# A child that is ended before it has become its program runs the traps of its parent: they must do nothing there.
main_shell() { [ "$BASHPID" = $$ ]; }

# Those of our children that still run, or are stopped: a pid that was kept may be somebody else's by now.
children() { jobs -pr; jobs -ps; }
tap_count=0

tap() { # ok|'not ok' WHAT
    tap_count=$((tap_count + 1))
    echo "$1 $tap_count - $2"
    [ "$1" = ok ] || head -n 40 "$dir/tap" | sed 's/^/# /'
}

check() {
    local what=$1
    shift
    if "$@" >"$dir/tap" 2>&1; then tap ok "$what"; else tap 'not ok' "$what"; fi
}

finds() {
    local what=$1 words=$2 verdict='not ok'
    shift 2
    "$@" >"$dir/tap" 2>&1 || { grep -qF -- "$words" "$dir/tap" && verdict=ok; }
    tap "$verdict" "$what"
}

results() { echo "1..$tap_count"; }
