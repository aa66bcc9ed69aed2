#!/usr/bin/env bash
# reflection.sh - ensignd's server reflection, asked by ensign call. protoc writes the requests and reads the
# answers; then it reads another answer of ensignd by the descriptors that ensignd has sent, and nothing else.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh
finish() { main_shell && { server_stop KILL; rm -rf "$dir"; }; }
trap finish EXIT
trap 'exit 130' INT TERM

stream=ServerReflection/ServerReflectionInfo
google=$(dirname "$(command -v protoc)")/../include
[ -e "$google/google/protobuf/descriptor.proto" ] || google=/usr/include

# no key: reflection is open to all
call() { timeout 60 "$BUILD/ensign" call --plaintext --no-auth "$@"; }

# ask PACKAGE NAME REQUEST...: requests in protobuf's text form, on one stream; the answers go to NAME.1 and so
# on, as text
ask() {
    local package=$1 name=$2 request n=0 files=()
    shift 2
    for request; do
        n=$((n + 1))
        protoc -Iproto "--encode=$package.ServerReflectionRequest" "proto/${package//.//}/reflection.proto" \
            <<<"$request" >"$dir/$name.ask.$n" || return 1
        files+=(--file "$dir/$name.ask.$n")
    done
    rm -f "$dir/$name".[0-9]*
    call --out hex "${files[@]}" "/$package.$stream" >"$dir/$name.hex" || return 1
    n=0
    while read -r line; do
        n=$((n + 1))
        bytes "$line" | protoc -Iproto "--decode=$package.ServerReflectionResponse" \
            "proto/${package//.//}/reflection.proto" >"$dir/$name.$n" || return 1
    done <"$dir/$name.hex"
    [ $n -eq $# ] || { echo "$n answers to $# requests"; return 1; }
}
bytes() { python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))' "$1"; } # HEX

# has NAME LINE...: each stands in the answer, whatever its indent
has() {
    local file=$dir/$1 line
    shift
    for line; do sed 's/^ *//' "$file" | grep -qxF -- "$line" || { cat "$file"; return 1; }; done
}
# An answer with files, from its hex, as a FileDescriptorSet: the two number their one field alike.
set_of() { # NAME LINE
    python3 - "$dir/$1.hex" "$2" >"$dir/$1.set" <<'PY'
import sys

def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at

data = bytes.fromhex(open(sys.argv[1]).read().split("\n")[int(sys.argv[2]) - 1])
at = 0
while at < len(data):
    key, at = varint(data, at)
    size, at = varint(data, at)
    if key >> 3 == 4:
        sys.stdout.buffer.write(data[at:at + size])
    at += size
PY
}
same() { [ "$1" = "$2" ] || { printf '%s\n%s\n' "$1" "$2"; return 1; }; }

# What protoc tells of a file that is in a set: all of its names and numbers, in text.
files_of() { # SET
    protoc -I"$google" --decode=google.protobuf.FileDescriptorSet \
        "$google/google/protobuf/descriptor.proto" <"$1"
}

check 'the server starts' server_start --memory --port 0 --auth-port 0
for package in grpc.reflection.v1 grpc.reflection.v1alpha; do
    check "$package: four questions on one stream" ask $package r 'list_services: ""' \
        'file_containing_symbol: "ensign.v1beta1.Ensign.Status" host: "here"' \
        'file_by_filename: "no.proto"' 'file_containing_symbol: "grpc.health.v1.Health"'
    check "$package: the services" has r.1 'name: "ensign.v1beta1.Ensign"' 'name: "ensignd.v1.Groups"' \
        'name: "grpc.health.v1.Health"' 'name: "grpc.reflection.v1.ServerReflection"' \
        'name: "grpc.reflection.v1alpha.ServerReflection"'
    check "$package: host and request come back" has r.2 'valid_host: "here"' 'host: "here"' \
        'file_containing_symbol: "ensign.v1beta1.Ensign.Status"'
    check "$package: what is not there" has r.3 'error_code: 5' \
        'error_message: "there is no file \"no.proto\""'
    check "$package: the stream goes on after it" has r.4 \
        'file_containing_symbol: "grpc.health.v1.Health"' 'file_descriptor_response {'
done
check 'extensions: there are none' ask grpc.reflection.v1 x \
    'all_extension_numbers_of_type: "ensign.v1beta1.Event"' \
    'file_containing_extension { containing_type: "ensign.v1beta1.Event" extension_number: 7 }' \
    'all_extension_numbers_of_type: "a.B"'
check 'a message without any' has x.1 'base_type_name: "ensign.v1beta1.Event"'
check 'none of that number' has x.2 'error_code: 5' \
    'error_message: "there is no extension of \"ensign.v1beta1.Event\""'
check 'no such message' has x.3 'error_code: 5' 'error_message: "there is no message \"a.B\""'

# The descriptors serve.
check 'the file of Ensign, with what it imports' set_of r 2
check 'it is what protoc makes of proto/' \
    protoc -Iproto -I"$google" --include_imports "-o$dir/made.set" api/v1beta1/ensign.proto
sorted() { files_of "$1" | sort; } # the order of files is ours
check 'the same files' same "$(sorted "$dir/r.set")" "$(sorted "$dir/made.set")"
status_says() {
    call --out raw --in hex /ensign.v1beta1.Ensign/Status '' |
        protoc "--descriptor_set_in=$dir/r.set" --decode=ensign.v1beta1.ServiceState "$1" >"$dir/status"
    has status 'status: HEALTHY' 'version: "0.12.9-ensignd"'
}
check 'an answer is read by them alone' status_says api/v1beta1/ensign.proto

# What ends a stream.
says() { # STATUS WORDS COMMAND...
    local wanted=$1 words=$2 status
    shift 2
    "$@" >"$dir/out" 2>"$dir/err"
    status=$?
    cat "$dir/err"
    [ $status -eq "$wanted" ] && grep -qF -- "$words" "$dir/err"
}
check 'a request that asks for nothing' says 1 'asks for nothing' call --hex "/grpc.reflection.v1.$stream" 0a0168
check 'a request that is broken' says 1 'unmarshal' call --hex "/grpc.reflection.v1.$stream" 1a05
head -c 70000 /dev/zero >"$dir/large"
check 'a request that is too large' says 1 'larger than max (70000 vs. 65536)' \
    call --hex --file "$dir/large" "/grpc.reflection.v1.$stream"
check 'another method' says 5 'unknown method Info for service grpc.reflection.v1.ServerReflection' \
    call --hex /grpc.reflection.v1.ServerReflection/Info 00
check 'it ends' server_stop

check 'in maintenance' server_start --memory --port 0 --auth-port 0 --maintenance
check 'reflection answers all the same' ask grpc.reflection.v1 m 'list_services: ""'
check 'it ends again' server_stop

check 'a strict server starts' server_start --memory --port 0 --auth-port 0 --strict
check 'v1: the real server has none' says 5 'unknown service grpc.reflection.v1.ServerReflection' \
    call --hex "/grpc.reflection.v1.$stream" 3a00
check 'v1alpha: the real server has none' says 5 'unknown service grpc.reflection.v1alpha.ServerReflection' \
    call --hex "/grpc.reflection.v1alpha.$stream" 3a00
check 'it says UNIMPLEMENTED' grep -qF UNIMPLEMENTED "$dir/err"
check 'it ends, too' server_stop
results
