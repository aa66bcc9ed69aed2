#!/usr/bin/env bash
# tls.sh - ensign against servers of OpenSSL and against ensignd: client certificates, versions of TLS, sessions
# that are resumed, and certificates of kinds that mbedTLS lacks
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

ensign=$PWD/$BUILD/ensign
peer=''

peer_stop() {
    [ -n "$peer" ] || return 0
    exec 4>&-
    kill "$peer" 2>/dev/null
    wait "$peer" 2>/dev/null
    peer=''
}
finish() {
    main_shell || return
    peer_stop
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

if ! command -v openssl >/dev/null; then
    if [ -n "${CI-}" ]; then echo 'not ok 1 - openssl is missing'; else echo 'ok 1 - # SKIP openssl is not here'; fi
    echo 1..1
    exit
fi
unset "${!ENSIGN_@}"

# ---- certificates

# key NAME ALGORITHM...: $dir/NAME.key
key() {
    local name=$1
    shift
    openssl genpkey "$@" -out "$dir/$name.key"
}
# self NAME: $dir/NAME.pem, signed by its own key, for localhost
self() {
    openssl req -new -x509 -key "$dir/$1.key" -subj "/CN=$1" -days 3650 -addext subjectAltName=DNS:localhost \
        -out "$dir/$1.pem"
}
# signed NAME ISSUER: $dir/NAME.pem
signed() {
    openssl req -new -key "$dir/$1.key" -subj "/CN=$1" -out "$dir/$1.csr" &&
        openssl x509 -req -in "$dir/$1.csr" -CA "$dir/$2.pem" -CAkey "$dir/$2.key" -CAcreateserial -days 3650 \
            -extfile <(echo subjectAltName=DNS:localhost) -out "$dir/$1.pem"
}
certificates() {
    local ec='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
    # shellcheck disable=SC2086 # words
    key ec $ec && key client $ec && key other $ec && key leaf $ec || return 1
    key rsa -algorithm RSA && key ed -algorithm ED25519 && key pss -algorithm RSA-PSS || return 1
    self ec && self rsa && self ed && self pss && self other && signed leaf ed && signed client ec || return 1
    openssl pkcs8 -topk8 -v2 des3 -in "$dir/client.key" -passout pass:sesame -out "$dir/locked.key"
}

# ---- the peer: TLS of OpenSSL, which agrees on h2 and then says nothing

# peer_start NAME [OPTION...]: with $dir/NAME.pem; sets $at
peer_start() {
    local name=$1
    shift
    peer_stop
    rm -f "$dir/in"
    mkfifo "$dir/in" && exec 4<>"$dir/in"
    : >"$dir/peer"
    openssl s_server -accept 127.0.0.1:0 -cert "$dir/$name.pem" -key "$dir/$name.key" -alpn h2 "$@" \
        <"$dir/in" >"$dir/peer" 2>&1 &
    peer=$!
    await "$dir/peer" ACCEPT "$peer" || return 1
    at=localhost:$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$dir/peer")
}

# says WORDS CA [OPTION...]: what ensign says of the peer when it trusts $dir/CA.pem
says() {
    local words=$1 ca=$2
    shift 2
    timeout 60 "$ensign" topics ls -E "$at" --token t --ca-file "$dir/$ca.pem" --connect-timeout 2s "$@" \
        >"$dir/out" 2>"$dir/err" </dev/null
    [ $? -ne 0 ] && grep -qF -- "$words" "$dir/err" || { cat "$dir/err" "$dir/peer"; return 1; }
}
# reaches CA [OPTION...]: the handshake is fine, and then no HTTP/2 comes
reaches() {
    local ca=$1
    shift
    says 'no SETTINGS of HTTP/2 came' "$ca" --connect-timeout 300ms "$@"
}

lacks='its own is Ed25519 or RSA-PSS, which mbedTLS lacks'
kinds() {
    peer_start ed || return 1
    check 'an Ed25519 server' says "$lacks" ec
    peer_start ed -tls1_2
    check 'an Ed25519 server of TLS 1.2' says "$lacks" ec
    peer_start pss
    check 'a server with an RSA-PSS key' says "$lacks" ec
    peer_start leaf
    check 'a certificate that Ed25519 signed' says 'such as Ed25519' ec
    peer_start rsa
    check 'trust in an Ed25519 certificate' says 'signed by an algorithm that mbedTLS lacks, such as Ed25519' ed
    check 'an RSA server' reaches rsa
    peer_start rsa -tls1_2
    check 'an RSA server of TLS 1.2' reaches rsa
    peer_start ec -tls1_2
    check 'an EC server of TLS 1.2' reaches ec
}

with_client() { "$@" --cert "$dir/client.pem" --cert-key "$dir/client.key"; }

clients() { # VERSION
    local missing='wants a client certificate (--cert)'
    peer_start rsa "-tls$1" -Verify 1 -verify_return_error -CAfile "$dir/ec.pem" || return 1
    [ "$1" = 1_2 ] || missing='set a client certificate: --cert and --cert-key'
    check "$1: a certificate is missing" says "$missing" rsa
    check "$1: with a certificate" with_client reaches rsa
    check "$1: the server has it" await "$dir/peer" 'CN = client' "$peer"
    check "$1: another one" says 'it does not take our client certificate: set --cert' rsa \
        --cert "$dir/other.pem" --cert-key "$dir/other.key"
}

wrong_use() {
    peer_start rsa
    check 'a certificate without a key' says 'set --cert-key, too' rsa --cert "$dir/client.pem"
    check 'a key without a certificate' says 'set --cert, too' rsa --cert-key "$dir/client.key"
    check 'no such key' says 'set --cert-key to a readable PEM file' rsa --cert "$dir/client.pem" \
        --cert-key "$dir/none"
    check 'a key of another certificate' says 'does not belong to the first certificate' rsa \
        --cert "$dir/client.pem" --cert-key "$dir/other.key"
    check 'a key with a password' says 'set ENSIGN_KEY_PASSWORD to its password' rsa \
        --cert "$dir/client.pem" --cert-key "$dir/locked.key"
    export ENSIGN_KEY_PASSWORD=open-barley
    check 'a wrong password' says 'the password in ENSIGN_KEY_PASSWORD does not decrypt' rsa \
        --cert "$dir/client.pem" --cert-key "$dir/locked.key"
    check 'it is not shown' eval '! grep -qF open-barley "$dir/err"'
    ENSIGN_KEY_PASSWORD=sesame
    check 'the password' reaches rsa --cert "$dir/client.pem" --cert-key "$dir/locked.key"
    unset ENSIGN_KEY_PASSWORD
    check 'a version that there is not' eval '! "$ensign" topics ls --min-tls 1.1 2>/dev/null'
}

# What TLS 1.3 needs is in mbedTLS 3.6 alone.
versions() {
    peer_start rsa -tls1_2 || return 1
    if "$ensign" topics ls -E localhost:1 --min-tls 1.3 2>&1 | grep -qF 'which this mbedTLS (2.'; then
        check 'TLS 1.3 is refused' says '--min-tls is TLS 1.3, which this mbedTLS' rsa --min-tls 1.3
        export ENSIGN_MIN_TLS=1.3
        check 'and by the environment' says '--min-tls is TLS 1.3, which this mbedTLS' rsa
    else
        clients 1_3
        peer_start rsa -tls1_2
        check 'a server without TLS 1.3' says 'it lacks TLS 1.3, which is the --min-tls' rsa --min-tls 1.3
        peer_start rsa
        check 'one with TLS 1.3' reaches rsa --min-tls 1.3
        export ENSIGN_MIN_TLS=1.3
        check 'and by the environment' reaches rsa
    fi
    check 'an option goes before' reaches rsa --min-tls 1.2
    unset ENSIGN_MIN_TLS
}

# resumes CA: two connections, the second one with the session of the first
resumes() {
    reaches "$1" --retry 5s -vv || return 1
    grep -qF 'handshake done, ' "$dir/err" && grep -qF 'handshake done by a ticket' "$dir/err" &&
        await "$dir/peer" 'Reused session-id' "$peer" || { cat "$dir/err" "$dir/peer"; return 1; }
}
resumption() { # [OPTION]
    peer_start ec "$@" || return 1
    check "a session is resumed ${1-}" resumes ec
}

# ---- ensignd

shows_certificate() { # server_start clears the variables
    export ENSIGN_CERT_FILE=$dir/client.pem ENSIGN_KEY_FILE=$dir/locked.key ENSIGN_KEY_PASSWORD=sesame
}
published() {
    seq 100 | timeout 60 "$ensign" publish t -e --lines - -vv 2>"$dir/err" || { cat "$dir/err"; return 1; }
}
ours() {
    check 'ensignd asks for certificates' server_start --memory --port 0 --auth-port 0 --tls \
        --cert-file "$dir/server.pem" --client-ca "$dir/ec.pem" || return
    check 'ensignd: none is shown' eval '! timeout 60 "$ensign" topics ls --retry 0s 2>"$dir/err"'
    shows_certificate
    check 'ensignd: the environment has it' timeout 60 "$ensign" topics create t
    check 'ensignd: an option goes before' eval '! timeout 60 "$ensign" topics ls --retry 0s \
        --cert "$dir/other.pem" --cert-key "$dir/other.key" 2>"$dir/err"'
    server_stop
    check 'ensignd cuts a connection' server_start --memory --port 0 --auth-port 0 --tls \
        --cert-file "$dir/server.pem" --client-ca "$dir/ec.pem" --cut-after-events 5 --cut-first 1
    shows_certificate
    check 'ensignd: all is published' published
    check 'ensignd: the second connection resumed' grep -qF 'handshake done by a ticket' "$dir/err"
    server_stop
    unset ENSIGN_CERT_FILE ENSIGN_KEY_FILE ENSIGN_KEY_PASSWORD
    check 'no such file of --client-ca' eval '! "$BUILD/ensignd" --memory --port 0 --auth-port 0 --tls \
        --cert-file "$dir/server.pem" --client-ca "$dir/none" 2>"$dir/err"'
    check 'it is named' grep -qF -- '--client-ca' "$dir/err"
}

check 'certificates are made' certificates
kinds
clients 1_2
versions
wrong_use
resumption
resumption -tls1_2
ours
results
