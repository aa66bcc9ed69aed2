#!/usr/bin/env bash
# cli_verbose.sh - what -v, -vv and -vvv of ensign tell, and that none of it has a secret in it; what
# ensignd --verbose tells
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

echo_pid=''
finish() {
    main_shell || return
    [ -n "$echo_pid" ] && kill "$echo_pid" 2>/dev/null
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

ensign=$BUILD/ensign
payload=payload-of-an-event-7Kq2vWz9 value=value-of-a-header-pQ4kDw8e binary=ab12cd34ef56ab78
token=fixed-token-of-the-user-Xb81LmQ0Rt7sUv

# run STATUS ARGUMENT...: ends with this exit status; what it prints is kept for the search
run() {
    local wanted=$1 status
    shift
    timeout 60 "$ensign" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    cat "$dir/err" >>"$dir/all"
    cat "$dir/out" >>"$dir/all_out"
    [ $status -eq "$wanted" ] || { echo "exit status $status"; cat "$dir/out" "$dir/err"; return 1; }
}
says() { grep -qE -- "$1" "$dir/err" || { cat "$dir/err"; return 1; }; }
silent() { ! grep -E -- "$1" "$dir/err"; }

# ---- how much each tells
frame='^ensign: +[0-9]+ ms [<>] (rpc|auth|rpc-2) [A-Z_]+ '
levels() {
    check 'a topic' run 0 topics create weather
    check 'without -v: it works' run 0 publish weather "$payload"
    check 'without -v: nothing of the connection' silent 'rpc|auth|connection'
    check '-v: it works' run 0 publish weather "$payload" -v
    check '-v: the connection' says '^ensign: rpc: connected to '
    check '-v: no steps of it' silent 'resolving|opened|connection: '
    check '-vv: it works' run 0 publish weather "$payload" -vv
    check '-vv: steps of the connection' says '^ensign: rpc: resolving localhost$'
    check '-vv: steps of the publisher' says '^ensign: publisher 1: open, time 1$'
    check '-vv: steps of auth' says '^ensign: auth: a token from localhost:'
    check '-vv: what was agreed on' \
        says '^ensign: connection: localhost:[0-9]+ at [0-9.:]+, TLSv1\.[23], TLS-?[A-Z0-9-]+, ALPN h2'
    check '-vv: no frames' silent "$frame"
    check '-vvv: it works' run 0 publish weather "$payload" -vvv
    check '-vvv: SETTINGS' says ' ms > rpc SETTINGS stream=0 flags=0 length=18 ENABLE_PUSH=0 INITIAL_WINDOW_SIZE=0 '
    check '-vvv: HEADERS, with names alone' says \
        ' > rpc HEADERS stream=1 flags=END_HEADERS length=[0-9]+ :method :scheme :path [a-z: -]*authorization$'
    check '-vvv: DATA' says ' < rpc DATA stream=1 flags=[A-Z0-9_]+ length=[0-9]+$'
    check '-vvv: trailers' says ' < rpc HEADERS stream=1 flags=END_STREAM\+END_HEADERS length=[0-9]+ grpc-status'
    check '-vvv: the request for a token' says ' > auth REQUEST length=[0-9]+ POST /v1/authenticate Host '
    check '-vvv: its answer' says ' < auth ANSWER length=[0-9]+ status=200 '
    check '-vvv: what -vv tells' says '^ensign: publisher 1: open, time 1$'
    check '-vvv: quiet is quiet' run 0 publish weather "$payload" -vvv --quiet
    check '-vvv: nothing said' test ! -s "$dir/err"
}

# ---- sessions, good and bad, whose output is searched
sessions() {
    local host=${ENSIGN_ENDPOINT%:*}
    check 'search: subscribe' run 0 subscribe weather -vvv --timeout 500ms
    check 'search: query' run 0 query 'SELECT * FROM weather' -vvv
    check 'search: topics' run 0 topics ls -vvv
    check 'search: a call with headers' run 0 call --hex /grpc.health.v1.Health/Check '' -vvv -H "x-key: $value" \
        -H "x-key-bin:$binary" -H "authorization: Bearer $token"
    check 'search: names of headers are told' says ' x-key x-key-bin authorization$'
    check 'search: a token that is no good' run 4 topics ls -vvv --token "$token"
    check 'search: no such server' run 3 topics ls -vvv --no-auth -E "$host:1"
    check 'search: no such certificate' run 3 topics ls -vvv --server-name other.example
    check 'search: wrong secret' run 4 topics ls -vvv --client-secret "$ENSIGN_CLIENT_SECRET$value"
    check 'search: the wrong port' run 3 topics ls -vvv -E "${ENSIGN_AUTH_URL#https://}" --no-auth
    check 'search: a header without a colon' run 2 call --hex /a.b/c '' -H "authorization Bearer $token"
    check 'search: a -bin header whose value is not hexadecimal' run 2 call --hex /a.b/c '' -H "x-key-bin: x$token"
    check 'search: password in the endpoint' run 2 topics ls -vvv -E "me:$token@$host:1"
    check 'search: password in the URL of auth' run 2 topics ls -vvv --auth-url "https://me:$token@$host"
}
echoing() { # STATUS: an auth service that repeats the secret
    [ -n "$echo_pid" ] && kill "$echo_pid" 2>/dev/null
    : >"$dir/echo"
    python3 tests/e2e/echoes.py "$1" >"$dir/echo" &
    echo_pid=$!
    await "$dir/echo" '' "$echo_pid" && until [ -s "$dir/echo" ]; do sleep 0.05; done
    echo_url=http://localhost:$(head -n 1 "$dir/echo")
}
echoes() {
    check 'an auth service that repeats the secret' echoing 403
    check 'repeated: exit status 4' run 4 topics ls -vvv --auth-url "$echo_url"
    check 'repeated: its words without it' says 'HTTP 403: not known: \*\*\*\)'
    check 'one that fails and repeats it' echoing 500
    check 'repeated: exit status 3' run 3 topics ls -vvv --auth-url "$echo_url"
    check 'repeated: its words, too' says 'HTTP 500: not known: \*\*\*;'
}

# Any 12 characters of a secret in a row are too many; plain, in hex, or in base64 in one of its three places.
no_secret() { # FILE SECRET...
    python3 - "$@" <<'END'
import base64, sys
text = open(sys.argv[1], errors="replace").read()
bad = 0
for secret in sys.argv[2:]:
    forms = {secret, secret.encode().hex(), secret.encode().hex().upper()}
    forms |= {base64.b64encode(secret.encode()[skip:]).decode()[:-4] for skip in range(3)}
    try: forms.add(base64.b64encode(bytes.fromhex(secret)).decode().rstrip("="))
    except ValueError: pass
    for form in forms:
        for at in range(max(len(form) - 11, 1)):
            if form[at:at + 12] in text:
                print("found:", form[at:at + 12], "of", secret)
                bad = 1
                break
sys.exit(bad or len(text) < 500)
END
}
planted() { # SECRET: the search finds it
    printf '%s\n' "$1" >"$dir/planted"
    cat "$dir/all" >>"$dir/planted"
    ! no_secret "$dir/planted" "${secrets[@]}" "$payload"
}

check 'a server with TLS' server_start --memory --port 0 --auth-port 0 --tls --cert-file "$dir/cert.pem" --verbose \
    --nack-every 3 --nack-code PERMISSION_DENIED
levels
sessions
echoes

# ---- what the server tells
log_says() { grep -qE -- "$1" "$server_log" || { cat "$server_log"; return 1; }; }
three() { # events of one stream: the third one is refused on purpose
    local status
    printf 'a\nb\nc\n' | timeout 60 "$ensign" publish weather >"$dir/out" 2>&1
    status=$?
    [ $status -eq 1 ] || { echo "exit status $status"; cat "$dir/out"; return 1; }
}
check 'ensignd: the third event is refused' three
check 'ensignd: a nack with code, topic and reason' \
    log_says '^ensignd: [0-9:.]+ .*: nack PERMISSION_DENIED, topic weather: refused on purpose'
check 'ensignd: an archived topic' run 0 topics archive weather
check 'ensignd: takes no event' run 1 publish weather x
check 'ensignd: it says so' log_says ': nack TOPIC_ARCHIVED, topic weather: cannot publish to an archived topic'

secrets=("$ENSIGN_CLIENT_SECRET" "$value" "$binary" "$token")
check 'no secret on standard error' no_secret "$dir/all" "${secrets[@]}" "$payload"
check 'no secret on standard output' no_secret "$dir/all_out" "${secrets[@]}" # but payloads, which are its matter
check 'the search finds a secret' planted "x${ENSIGN_CLIENT_SECRET:20:14}x"
check 'the search finds one in base64' planted "$(printf 'ab%s' "$token" | base64 -w 0)"
check 'the search finds one in hex' planted "$(printf %s "$payload" | od -An -v -tx1 | tr -d ' \n')"
results
