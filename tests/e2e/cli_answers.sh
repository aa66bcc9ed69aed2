#!/usr/bin/env bash
# cli_answers.sh - what ensign says, and its exit status, where no gRPC server answers: a proxy that refuses,
# the auth service's port in place of the server's, no descriptor left
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

refuser=''
finish() {
    main_shell || return
    [ -n "$refuser" ] && kill "$refuser" 2>/dev/null
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# says STATUS WORDS COMMAND...: ends with this exit status, and has the words, and no control character, on
# standard error
says() {
    local wanted=$1 words=$2 status
    shift 2
    timeout 60 "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    [ $status -eq "$wanted" ] && [ ! -s "$dir/out" ] && grep -qF -- "$words" "$dir/err" &&
        ! LC_ALL=C grep -q '[[:cntrl:]]' "$dir/err" ||
        { echo "exit status $status"; cat "$dir/out" "$dir/err"; return 1; }
}
# a server that answers each call so; what leads there is in "${there[@]}"
answers() {
    [ -n "$refuser" ] && kill "$refuser" 2>/dev/null
    : >"$dir/refuser"
    python3 tests/e2e/refuses.py "$@" >"$dir/refuser" &
    refuser=$!
    await "$dir/refuser" '' "$refuser" || return 1
    there=(--no-auth --plaintext --endpoint "127.0.0.1:$(head -n 1 "$dir/refuser")")
}
# in place of a command: it gets the standard descriptors, and those for signals; LeakSanitizer needs one more
few=(env ASAN_OPTIONS=detect_leaks=0 bash -c 'ulimit -n 5 && exec "$@"' -)

ensign=$BUILD/ensign
check 'a proxy answers 401' answers 401
check '401: exit status 4, and its words' says 4 'HTTP status 401: Who are you?' \
    "$ensign" status "${there[@]}"
check 'a proxy answers 403' answers 403
check '403: exit status 4, and its words' says 4 'HTTP status 403: Not you [31m' \
    "$ensign" topics ls "${there[@]}"
check '403: of a call, too' says 4 'ask who runs it' "$ensign" call --hex /a.b/c "${there[@]}"
check 'a proxy answers 404' answers 404
check '404: exit status 5' says 5 'HTTP status 404; another server answers here' "$ensign" status "${there[@]}"
check '404: of a call, too' says 5 'HTTP status 404' "$ensign" call --hex /a.b/c "${there[@]}"
calls() { # N: so many came
    [ $(($(wc -l <"$dir/refuser") - 1)) -eq "$1" ]
}
check 'a proxy answers 503' answers 503
check '503: exit status 3, after one attempt' says 3 'HTTP status 503: Not now' \
    "$ensign" call --hex /a.b/c 00 "${there[@]}"
check '503: the server had one' calls 1
check '503: --attempts makes further ones' says 3 'attempt 3 of 3: the last one' \
    "$ensign" call --hex /a.b/c 00 --attempts 3 "${there[@]}"
check '503: the server had three more' calls 4
check '503: it says why it waits' says 3 'waits: http: /a.b/c answers HTTP status 503' \
    "$ensign" call --hex /a.b/c 00 --attempts 2 "${there[@]}"
attempts_in_json() { "$@" 2>/dev/null | grep -q '"status_name": *"UNAVAILABLE".*"attempts": *2'; }
check '503: JSON has the attempts' attempts_in_json \
    "$ensign" call --hex /a.b/c 00 --json --attempts 2 "${there[@]}"
check '503: so has -v' says 3 'attempts: 2' "$ensign" call --hex /a.b/c 00 -v --attempts 2 "${there[@]}"
attempts_of_the_environment() { ENSIGN_ATTEMPTS=2 says 3 'attempt 2 of 2: the last one' "$@"; }
check '503: ENSIGN_ATTEMPTS makes them, too' attempts_of_the_environment "$ensign" call --hex /a.b/c 00 "${there[@]}"
check '503: the option goes before it' says 3 'HTTP status 503' \
    env ENSIGN_ATTEMPTS=3 "$ensign" call --hex /a.b/c 00 --attempts 1 "${there[@]}"
check '503: the server had nine more' calls 13
check 'a server answers 500' answers 500
check '500: exit status 3' says 3 'HTTP status 500' "$ensign" status "${there[@]}"

check 'ensignd' server_start --memory --port 0 --auth-port 0
auth=${ENSIGN_AUTH_URL#http://}
check 'the auth port in place of the server: exit status 3' says 3 \
    'answers in HTTP/1, as the auth service or a web server does; endpoint must be' \
    "$ensign" status --plaintext --endpoint "$auth"
over_tls=(env -u ENSIGN_INSECURE "$ensign" status --endpoint)
# It closes, and now and then answers in plain HTTP before: the two have different texts.
check 'TLS to a port without it, which closes: it may not speak TLS' says 3 'speak TLS' \
    "${over_tls[@]}" "$auth"
check 'TLS to a server without it, which answers' says 3 \
    'does not speak TLS, it sends plaintext HTTP/2; set --plaintext (ENSIGN_INSECURE), or use the right port' \
    "${over_tls[@]}" "$ENSIGN_ENDPOINT"
check 'no descriptor left: exit status 3, and what to do' says 3 'raise the limit of open ones (ulimit -n)' \
    "${few[@]}" "$ensign" status --plaintext --endpoint "127.0.0.1:${ENSIGN_ENDPOINT##*:}"
check 'no descriptor left: a host is no less there' says 3 'raise the limit of open ones (ulimit -n)' \
    "${few[@]}" "$ensign" status --plaintext --endpoint localhost:1
server_stop
results
