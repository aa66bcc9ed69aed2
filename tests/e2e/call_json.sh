#!/usr/bin/env bash
# call_json.sh - ensign call with JSON: against ensignd, with types by server reflection, by .proto files, by
# descriptor sets; standard input line by line; what a scripted server (scripted.py) sends as an Any, as the
# details of a status, and as reflection that means harm
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/cli.sh

if "$ensign" call a/b 2>&1 | grep -q 'JSON needs libprotobuf'; then
    tap ok 'ensign call with JSON # SKIP built without libprotobuf'
    results
    exit
fi

# run ARGUMENT...: $status, and what it prints in $dir/out and $dir/err; standard input is $dir/in, if that is
# there
run() {
    local input=/dev/null
    [ -e "$dir/in" ] && input=$dir/in
    timeout 60 "$ensign" call "$@" >"$dir/out" 2>"$dir/err" <"$input"
    status=$?
}
has() { # WORDS: of the last run, on standard output
    grep -qF -- "$1" "$dir/out" || { cat "$dir/out"; return 1; }
}
stdin() { printf '%b' "$1" >"$dir/in"; } # TEXT
no_terminal=$(python3 tests/e2e/pty.py) || [ $? -eq 3 ] || no_terminal=''

check_method=grpc.health.v1.Health/Check sql=ensign.v1beta1.Ensign/EnSQL

# ---- ensignd, by reflection

check 'ensignd' server_start --memory --port 0 --auth-port 0
services='ensign.v1beta1.Ensign
ensignd.v1.Groups
grpc.health.v1.Health
grpc.reflection.v1.ServerReflection
grpc.reflection.v1alpha.ServerReflection'
check 'list' prints "$services" --list
check 'list: the methods of a service' prints "$(printf 'grpc.health.v1.Health/%s\n' Check Watch)" \
    --list grpc.health.v1.Health
check 'list, as JSON' prints "$(sed 's/.*/{"service":"&"}/' <<<"$services")" --list --json
check 'list: a method as JSON' does 0 --list grpc.health.v1.Health --json
check 'list: it has its types' has '{"method":"grpc.health.v1.Health/Watch","request":'\
'"grpc.health.v1.HealthCheckRequest","response":"grpc.health.v1.HealthCheckResponse","client_streams":false,'\
'"server_streams":true}'
check 'list: no such service' fails 5 'the server has no a.B; ensign call --list shows its services' --list a.B
check 'list: a message is no service' fails 5 'there is no service grpc.health.v1.HealthCheckRequest' \
    --list grpc.health.v1.HealthCheckRequest
check 'describe a service' prints 'service Health {
  rpc Check(.grpc.health.v1.HealthCheckRequest) returns (.grpc.health.v1.HealthCheckResponse);
  rpc Watch(.grpc.health.v1.HealthCheckRequest) returns (stream .grpc.health.v1.HealthCheckResponse);
}' --describe grpc.health.v1.Health
check 'describe a method' prints \
    'rpc EnSQL(.ensign.v1beta1.Query) returns (stream .ensign.v1beta1.EventWrapper);' --describe $sql
check 'describe a message' does 0 --describe .ensign.v1beta1.ServiceState
check 'describe: it has types of another file' has '  .google.protobuf.Duration uptime = 3;'
check 'describe an enum' does 0 --describe grpc.health.v1.HealthCheckResponse.ServingStatus
check 'describe: its values' has '  NOT_SERVING = 2;'
check 'describe, as JSON' prints '{"name":"grpc.health.v1.HealthCheckRequest","definition":'\
'"message HealthCheckRequest {\n  string service = 1;\n}"}' --describe grpc.health.v1.HealthCheckRequest --json
check 'describe: no such name' fails 5 'the server has no a.b.C' --describe a.b.C
check 'describe: a package' fails 5 \
    'grpc.health.v1 is a package; name something in it, such as its service grpc.health.v1.Health' \
    --describe grpc.health.v1
check 'list: a package' fails 5 'grpc.health.v1 is a package' --list grpc.health.v1
check 'describe a value of an enum' prints 'NOT_SERVING = 2;' \
    --describe grpc.health.v1.HealthCheckResponse.ServingStatus.NOT_SERVING
check 'describe: no such value' fails 5 'the server has no grpc.health.v1.HealthCheckResponse.ServingStatus.NO' \
    --describe grpc.health.v1.HealthCheckResponse.ServingStatus.NO
check 'describe a type of libprotobuf that no file of the server imports' does 0 --describe google.protobuf.Method
check 'describe: it is there' has '  bool request_streaming = 3;'
check 'describe Timestamp' prints 'message Timestamp {
  int64 seconds = 1;
  int32 nanos = 2;
}' --describe google.protobuf.Timestamp
check 'template of Timestamp' prints '"1970-01-01T00:00:00Z"' --template google.protobuf.Timestamp
check 'template of a method: of what it takes' prints '{"service":""}' --template $check_method --json
check 'template' prints '{
  "service": ""
}' --template grpc.health.v1.HealthCheckRequest
check 'template, as JSON' prints '{"service":""}' --template grpc.health.v1.HealthCheckRequest --json
check 'template of a service' fails 5 '--template takes the name of a message or a method' --template grpc.health.v1.Health

serving='{"status":"SERVING"}'
check 'call' prints "$serving" $check_method '{}'
check 'a slash in front' prints "$serving" /$check_method '{"service": "default"}'
check 'a dot before the method' prints "$serving" ${check_method/\//.} '{}'
check 'no message: one without fields' prints "$serving" $check_method
check 'as JSON' prints '{"kind":"message","message":{"status":"SERVING"}}
{"kind":"end","status":0,"status_name":"OK","text":""}' $check_method --json
check 'fields with their default' does 0 ensign.v1beta1.Ensign/Info --emit-defaults
check 'they are there' has '"numTopics":"0"'
check 'they are not, else' prints "$(sed -n 's/.*\("projectId":"[^"]*"\).*/{\1}/p' "$dir/out")" \
    ensign.v1beta1.Ensign/Info
check 'Timestamp, Duration, an enum' does 0 ensign.v1beta1.Ensign/Status
check 'they have their forms' grep -qE '^\{"status":"HEALTHY","version":"[^"]*","uptime":"[0-9.]+s",'\
'"notBefore":"20[0-9T:.-]*Z","notAfter":"20[0-9T:.-]*Z"\}$' "$dir/out"
for topic in one two; do
    check "a topic, $topic" does 0 ensign.v1beta1.Ensign/CreateTopic "{\"name\": \"$topic\"}"
done
check 'the server streams' does 0 $sql '{"query": "SELECT * FROM one"}'
"$ensign" publish one a b c 2>/dev/null
check 'the server streams, three messages' does 0 $sql '{"query": "SELECT * FROM one"}'
check 'a line each' same 3 "$(wc -l <"$dir/out")"
check 'the server refuses' fails 1 'INVALID_ARGUMENT' $sql '{"query": "nonsense"}'
check 'no token' fails 4 'UNAUTHENTICATED' $sql '{}' --no-token
check 'no such method' fails 5 'grpc.health.v1.Health has no method Nope; it has Check, Watch' \
    grpc.health.v1.Health/Nope
check 'no such service' fails 5 'the server has no a.B; ensign call --list shows its services' a.B/C
check 'no method at all' fails 2 'name a method as package.Service/Method' nonsense
check 'what is there already' fails 1 'ALREADY_EXISTS' ensign.v1beta1.Ensign/CreateTopic '{"name": "one"}'
check 'it names no option of another command' same '' "$(grep -e --if-missing "$dir/err")"
check 'a method that the service lacks, to the server' fails 5 'UNIMPLEMENTED' --hex grpc.health.v1.Health/Nope ''
check 'metadata: upper case becomes lower case' prints "$serving" $check_method -H 'X-A: b' -H X-B-Bin:00ff
check 'a token of our own that is none' fails 4 '; change the authorization of --header' $sql '{}' \
    -H 'Authorization: Bearer nonsense'
check 'metadata goes, and comes' does 0 $check_method -v -H x-a-bin:00ff -H 'x-b: c'
check '-v: it is told' says 'header: content-type: application/grpc'
check 'metadata, cut' does 0 $check_method -v --max-metadata 40
check 'metadata, cut: it is told' says 'the metadata was cut; --max-metadata keeps more of it'
check 'an authority' prints "$serving" $check_method --authority other.example
check 'a message too large to come' fails 1 'raise --max-message' ensign.v1beta1.Ensign/Status --max-message 8
printf '%s' '{"service": "default"}' >"$dir/message.json"
check 'a file' prints "$serving" $check_method --file "$dir/message.json"
stdin '{"service":\n "default"}\n'
check 'standard input as a file' prints "$serving" $check_method --file -
rm "$dir/in"
check 'ensignd takes no gzip' fails 1 'Decompressor is not installed' $check_method --gzip

# ---- completion

completion() { # WORD...: what may stand for the last one
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _ensign
        printf "%s\n" "${COMPREPLY[@]}"' "$PWD/tools/ensign/ensign.bash" "$ensign" "$@" 2>&1
}
check 'completion: services' same "${services//$'\n'//$'\n'}/" "$(completion call '')"
check 'completion: one of them' same 'grpc.health.v1.Health/' "$(completion call grpc.h)"
check 'completion: its methods' same "$(printf 'grpc.health.v1.Health/%s\n' Check Watch)" \
    "$(completion call grpc.health.v1.Health/)"
check 'completion: no such service' same '' "$(completion call a.B/)"
check 'completion: what is described' same 'grpc.health.v1.Health' "$(completion call --describe grpc.h)"
check 'completion: no server' same '' "$(ENSIGN_ENDPOINT=127.0.0.1:1 completion call '')"

# ---- wrong messages: nothing is sent

wrong() { check "$1" fails 2 "$2" "${@:3}"; }
wrong 'a field that is not there' 'message 1: serv: grpc.health.v1.HealthCheckRequest has no such field; it has service' \
    $check_method '{"serv": 1}'
wrong 'a value of another type' 'message 1: service: 5 is not a string' $check_method '{"service": 5}'
wrong 'deep inside' 'message 1: params[1].i: "x" is not a whole number from -9223372036854775808 to' \
    $sql '{"params": [{"i": 1}, {"i": "x"}]}'
check 'unknown fields, passed over' prints "$serving" $check_method '{"serv": 1}' --allow-unknown-fields
wrong 'not JSON' 'message 1 is not JSON from character 12 on' $check_method '{"service" 1}'
wrong 'JSON that ends early' 'message 1: the JSON ends too early' $check_method '{"service": "a"'
wrong 'no JSON' 'message 1 is empty; {} is a message without fields' $check_method ''
wrong 'two values' 'message 1 has more than one JSON value; give each as a MESSAGE of its own' $check_method '{}{}'
wrong 'hexadecimal digits' 'messages in hexadecimal digits need --hex' $check_method 0a01
check 'no JSON: not a word of hexadecimal digits' same 1 "$(run $check_method ''; wc -l <"$dir/err")"
wrong 'a server before the method' '127.0.0.1:99 is not a method; --endpoint (-E) names the server' \
    127.0.0.1:99 $check_method
wrong 'a server before the method, with --hex' '127.0.0.1:99 is not a method' --hex 127.0.0.1:99 $check_method
wrong 'list as a word' 'list is not a method; --list is an option here' list
wrong '-d' 'there is no option -d here; messages are arguments: ensign call PACKAGE.SERVICE/METHOD' \
    -d '{}' $check_method
wrong '@FILE' 'message 1: --file q.json reads a message from a file' $check_method @q.json
wrong '@' 'message 1: - stands for the lines of standard input' $check_method @
wrong 'a field twice' 'message 1: service: it is given twice' $check_method '{"service": "", "service": ""}'
wrong 'a word for a truth' 'message 1: includeDuplicates: "yes" is not true or false' $sql \
    '{"includeDuplicates": "yes"}'
wrong 'an object for a list' 'message 1: params: {} is not a list' $sql '{"params": {}}'
wrong 'two messages' "/$check_method takes one message, and 2 are given" $check_method '{}' '{}'
echo '{"q": 1}' >"$dir/wrong.json"
wrong 'a file with a wrong field' "$dir/wrong.json: q: grpc.health.v1.HealthCheckRequest has no such field" \
    $check_method --file "$dir/wrong.json"
wrong '- and more' 'the message - stands for the lines of standard input; put it last' $check_method - '{}'
wrong 'two questions' '--list, --describe and --template are three questions; ask one' --list --describe a.B
wrong 'too much' '"b" is too much' --list a b
wrong 'folders of imports alone' 'add --proto FILE' --list -I .

# ---- standard input, a message a line

stdin '\n{"service": "default"}\n  \n'
check 'lines: one message' prints "$serving" $check_method -
stdin '{"service": "default"}'
check 'lines: without a newline at the end' prints "$serving" $check_method -
stdin '{}\n\n{}\n'
wrong 'lines: two for one' "line 3 of standard input: /$check_method takes one message" $check_method -
stdin '\n'
wrong 'lines: none for one' "standard input has no message, and /$check_method takes one" $check_method -
stdin '{}\n{} {}\n'
wrong 'lines: two values in one' 'line 2 of standard input has more than one JSON value; put each on a line' \
    ensign.v1beta1.Ensign/Publish -
stdin '{\n  "service": ""\n}\n'
wrong 'lines: JSON over several' \
    'line 1 of standard input: the JSON ends too early; each line is one message, and --file - takes one over' \
    $check_method -
stdin '{}\n\n{"openStream": {"q": 1}}\n'
wrong 'lines: a wrong field' 'line 3 of standard input: openStream.q: ensign.v1beta1.OpenStream has no such field' \
    ensign.v1beta1.Ensign/Publish -
rm "$dir/in"

# Typed: each line is answered before the next one is written.
typed() {
    local pid reply
    mkfifo "$dir/typed"
    "$ensign" call ensign.v1beta1.Ensign/Publish - <"$dir/typed" >"$dir/typed.out" 2>&1 &
    pid=$!
    exec 3>"$dir/typed"
    echo '{"openStream": {"clientId": "me", "topics": ["one"]}}' >&3
    await "$dir/typed.out" '"ready"' $pid || return 1
    for reply in 1 2; do
        echo '{"event": {"localId": "AAECAwQFBgcICQoLDA0ODw=="}}' >&3
        await "$dir/typed.out" '"nack"' $pid || return 1
    done
    kill -0 $pid || return 1
    exec 3>&-
    wait $pid || return 1
    [ "$(grep -c '"nack"' "$dir/typed.out")" -eq 2 ] && grep -q '^{"closeStream":{"nacks":"2"}}$' "$dir/typed.out"
}
check 'lines are sent as they come, and the end of input ends the request' typed
cat "$dir/typed.out" >>"$dir/tap"

if [ -z "$no_terminal" ]; then
    on_terminal() { python3 tests/e2e/pty.py '' "$ensign" call "$@" </dev/null | tr -d '\r' >"$dir/out"; }
    check 'a terminal: it works' on_terminal $check_method
    check 'a terminal: JSON is indented' same "$(printf '{\n "status": "SERVING"\n}')" "$(cat "$dir/out")"
else tap ok "a terminal # SKIP $no_terminal"; fi

# ---- files instead of reflection

check 'a set' protoc -Iproto --include_imports --descriptor_set_out="$dir/health.set" grpc/health/v1/health.proto
proto=(--proto grpc/health/v1/health.proto -I proto)
check 'proto: call' prints "$serving" "${proto[@]}" $check_method
check 'protoset: call' prints "$serving" --protoset "$dir/health.set" $check_method
check 'ensignd ends' server_stop
unset "${!ENSIGN_@}"
check 'proto: list, without a server' prints grpc.health.v1.Health "${proto[@]}" --list
check 'proto: comments are kept' does 0 "${proto[@]}" --describe grpc.health.v1.HealthCheckRequest
check 'proto: one is there' has '// empty: the server as a whole'
check 'proto: the folder of the file' prints shop.Orders --proto tests/unit/schema.proto --list
check 'proto: two files' prints shop.Orders --proto tests/unit/schema.proto --proto tests/unit/schema_old.proto --list
check 'protoset: list' prints grpc.health.v1.Health --protoset "$dir/health.set" --list
wrong 'proto: a name that is not there' '' --proto none.proto --list
wrong 'proto: protoc tells why' 'protoc did not compile the files of --proto' --proto none.proto --list
wrong 'proto: it says what an import may lack' 'name the root of the imports by -I DIR' \
    --proto proto/api/v1beta1/ensign.proto --list
protoc -Itests/unit --include_imports --descriptor_set_out="$dir/copy.set" schema.proto
wrong 'proto and protoset: a type in two files' \
    'is in two files, schema.proto and tests/unit/schema.proto; give one of them' \
    --proto tests/unit/schema.proto -I . --protoset "$dir/copy.set" --list
wrong 'protoset: no set' "--protoset $0: it is not a FileDescriptorSet" --protoset "$0" --list
wrong 'protoset: no file' 'cannot be opened' --protoset "$dir/none" --list
check 'a name that is not in them' fails 5 'the files of --protoset have no a.B; --list shows their services' --protoset "$dir/health.set" --describe a.B
protoc -Iproto --descriptor_set_out="$dir/part.set" api/v1beta1/ensign.proto
wrong 'protoset: an import is missing' 'imports api/v1beta1/event.proto, which is not there' \
    --protoset "$dir/part.set" --list
without_protoc() {
    PATH=$dir/none "$ensign" call "${proto[@]}" --list >"$dir/out" 2>"$dir/err" </dev/null
    same 2 $? && says 'install it (Debian: protobuf-compiler), or give --protoset FILE'
}
check 'proto: no protoc' without_protoc
check 'proto: needs an endpoint to call' fails 2 'give --endpoint HOST:PORT' "${proto[@]}" $check_method

# ---- a scripted server

server='' there=()
scripted() { # CALL...
    [ -n "$server" ] && kill "$server" 2>/dev/null
    : >"$dir/server"
    python3 tests/e2e/scripted.py "$@" >"$dir/server" &
    server=$!
    await "$dir/server" '' "$server" || return 1
    there=(--no-auth --plaintext --endpoint "127.0.0.1:$(head -n 1 "$dir/server")")
}
encode() { # TYPE TEXT: hexadecimal digits of a message of tests/unit/schema.proto
    protoc -Itests/unit -Iproto --encode="$1" "${3:-schema.proto}" <<<"$2" | od -An -v -tx1 | tr -d ' \n'
}
protoc -Itests/unit --descriptor_set_out="$dir/shop.set" schema.proto      # alone: libprotobuf has the others
far='syntax = "proto3"; package far; message Away { string where = 1; }'
echo "$far" >"$dir/far.proto"
protoc -I"$dir" --descriptor_set_out="$dir/far.set" far.proto
shop='{"replies": [{"set": "'$dir/shop.set'"}]}'
away='{"replies": [{"set": "'$dir/far.set'"}]}'
lacks='{"replies": [{"error": 5}]}'
none='{"status": 12, "text": "unknown service"}'
ok() { echo '{"replies": [{"hex": "'"$1"'"}]'"${2:+, $2}"'}'; } # HEX [MORE]

order=$(encode shop.Order 'id: 7 by_name { key: "a" value { count: 1 } } text: "x<y\342\200\256\001"')
check 'scripted: v1' scripted "$shop" "$(ok "$order")"
check 'a call, what comes is made safe' prints \
    '{"id":"7","byName":{"a":{"count":1}},"text":"x<y\u202e\u0001"}' "${there[@]}" shop.Orders/Put '{"id": 7}'
check 'scripted: text that is no UTF-8' scripted "$shop" "$(ok ba0102ff61)"
check 'text that is no UTF-8' prints "$(printf '{"text":"\357\277\275a"}')" "${there[@]}" shop.Orders/Put
check 'scripted: v1alpha alone' scripted "$none" "$shop" "$(ok '')"
check 'v1alpha' prints '{}' "${there[@]}" shop.Orders/Put
check 'it took three calls' same 4 "$(wc -l <"$dir/server")"
check 'scripted: no reflection' scripted "$none"
check 'neither' fails 1 'this server does not tell its types; name its .proto files by --proto FILE -I DIR' \
    "${there[@]}" shop.Orders/Put
check 'scripted: an answer' scripted "$(ok '')"
check 'no message, of a stream of them' prints '{}' --proto tests/unit/schema.proto "${there[@]}" shop.Orders/Fill
check 'two messages, of a stream of them' prints '{}' --proto tests/unit/schema.proto "${there[@]}" \
    shop.Orders/Fill '{}' '{"id": 5}'

check 'scripted: no answer' scripted '{"replies": []}'
put=(--proto tests/unit/schema.proto "${there[@]}" shop.Orders/Put)
check 'unary, and no answer' fails 1 'grpc: /shop.Orders/Put is unary and ended OK, but with no whole answer' "${put[@]}"
check 'unary, and no answer, as JSON' does 1 "${put[@]}" --json
check 'its status' has '{"kind":"end","status":13,"status_name":"INTERNAL","text":"","error":"grpc: /shop.Orders/Put is'
check 'no answer to a stream' fails 1 'grpc: /shop.Orders/Fill gives one answer and ended OK, but with no whole' \
    --proto tests/unit/schema.proto "${there[@]}" shop.Orders/Fill '{}'
check 'no answers of a method that may have none' prints '' \
    --proto tests/unit/schema.proto "${there[@]}" shop.Orders/Watch
check 'scripted: two answers' scripted '{"replies": [{"hex": "0807"}, {"hex": "0808"}]}'
put=(--proto tests/unit/schema.proto "${there[@]}" shop.Orders/Put)
check 'unary, and two answers' does 1 "${put[@]}"
check 'they are an error' says 'grpc: /shop.Orders/Put is unary, but has more than one answer'
check 'unary, and two answers, as JSON' does 1 "${put[@]}" --json
check 'their status' has '{"kind":"end","status":13,"status_name":"INTERNAL"'
check 'two answers of a stream' prints '{"id":"7"}
{"id":"8"}' --proto tests/unit/schema.proto "${there[@]}" shop.Orders/Watch

any=$(encode shop.Order 'any { type_url: "type.googleapis.com/far.Away" value: "\n\004home" }')
check 'scripted: an Any' scripted "$shop" "$(ok "$any")" "$away"
check 'an Any whose type the server tells' prints \
    '{"any":{"@type":"type.googleapis.com/far.Away","where":"home"}}' "${there[@]}" shop.Orders/Put
check 'scripted: an Any of nobody' scripted "$shop" "$(ok "$any")" "$lacks"
check 'an Any whose type it does not' prints \
    '{"any":{"@type":"type.googleapis.com/far.Away","@value":"CgRob21l"}}' "${there[@]}" shop.Orders/Put
shop_and='{"replies": [{"set": "'$dir/shop.set'"}, {"set": "'$dir/far.set'"}]}'
check 'scripted: an Any in the request' scripted "$shop_and" "$(ok '')"
check 'its type is asked for' prints '{}' "${there[@]}" shop.Orders/Put \
    '{"any": {"@type": "type.googleapis.com/far.Away", "where": "home"}}'
shop_and='{"replies": [{"set": "'$dir/shop.set'"}, {"error": 5}]}'
check 'scripted: such an Any of nobody' scripted "$shop_and"
wrong 'its type is not known' 'message 1: any.@type: the type of "x/far.Away" is not known' "${there[@]}" \
    shop.Orders/Put '{"any": {"@type": "x/far.Away"}}'

# An answer with as many types that nobody knows as asking for each would take too long.
far() { # COUNT: Nests, each with an Any of another type
    encode shop.Nest "$(for ((i = 0; i < $1; i++)); do
        printf 'nests { key: %d value { any { type_url: "x/%x" } } } ' $i $i
    done)"
}
nest=$(far 1000)
nested='syntax = "proto3"; package shop; import "schema.proto"; service Nests { rpc Put(Nest) returns (Nest); }'
echo "$nested" >"$dir/nests.proto"
protoc -I"$dir" -Itests/unit --descriptor_set_out="$dir/nests.part" nests.proto
cat "$dir/shop.set" "$dir/nests.part" >"$dir/nests.set"
nests='{"replies": [{"set": "'$dir/nests.set'"}]}'
check 'scripted: many an Any of nobody' scripted "$nests" "$(ok "$nest")" "$lacks"
check 'many an Any of nobody' does 0 "${there[@]}" shop.Nests/Put
check 'all of them are printed' same 1000 "$(grep -o '"@type"' "$dir/out" | wc -l)"
check 'the server was asked for 64 of them' same 66 "$(($(wc -l <"$dir/server") - 1))"
silent='{"replies": []}' # it takes questions, and answers none
check 'scripted: it does not answer what an Any is' scripted "$nests" "$(ok "$(far 5)")" "$silent"
check '--deadline ends that' does 6 "${there[@]}" shop.Nests/Put --deadline 700ms
check 'it asks once' same 3 "$(($(wc -l <"$dir/server") - 1))"
check 'the answer is printed' has '"0":{"any":{"@type":"x/0"}}'
check 'scripted: the same for a signal' scripted "$nests" "$(ok "$(far 5)")" "$silent"
interrupted() { # the third call is the question for a type; one ^C ends it
    local pid
    "$ensign" call "${there[@]}" shop.Nests/Put >"$dir/out" 2>"$dir/err" </dev/null &
    pid=$!
    await "$dir/server" 'call 3' $pid || return 1
    kill -INT $pid
    wait $pid
    same 130 $?
}
check 'a signal ends that' interrupted
check 'no other type was asked for' same 3 "$(($(wc -l <"$dir/server") - 1))"

# A template of types that have an Any, where nobody tells what Empty is.
alone='syntax = "proto3"; package alone; import "google/protobuf/any.proto";
message M { google.protobuf.Any any = 1; map<int32, M> m = 2; repeated int32 i = 3; }
service S { rpc Put(M) returns (M); }'
echo "$alone" >"$dir/alone.proto"
protoc -I"$dir" --descriptor_set_out="$dir/alone.set" alone.proto
check 'a template with an Any' does 0 --protoset "$dir/alone.set" --template alone.M --json
template=$(cat "$dir/out")
check 'scripted: it is taken' scripted "$(ok '')"
check 'the template can be sent' prints '{}' --protoset "$dir/alone.set" "${there[@]}" alone.S/Put "$template"
wrong 'inside of a map of messages with an Any' 'm["1"].i[0]: "z" is not a whole number' --protoset "$dir/alone.set" \
    "${there[@]}" alone.S/Put '{"m": {"1": {"i": ["z"]}}}'
wrong 'a key twice' 'message 1: m["1"].i: it is given twice; leave one out' --protoset "$dir/alone.set" \
    "${there[@]}" alone.S/Put '{"m": {"1": {"i": [], "i": []}}}'

# code 3, a BadRequest with one violation, and an Any of far.Away
bad="0a29$(printf 'type.googleapis.com/google.rpc.BadRequest' | od -An -v -tx1 | tr -d ' \n')12080a060a0161120162"
away_any="0a1c$(printf 'type.googleapis.com/far.Away' | od -An -v -tx1 | tr -d ' \n')12060a04686f6d65"
length() { printf '%02x' $((${#1} / 2)); }
details="080312026e6f1a$(length "$bad")${bad}1a$(length "$away_any")$away_any"
refused='{"status": 3, "text": "no", "details": "'$details'"}'
check 'scripted: details' scripted "$shop" "$refused" "$lacks"
check 'a status has its text' fails 1 'INVALID_ARGUMENT: no' "${there[@]}" shop.Orders/Put
check 'its details, of google.rpc' says \
    'detail: {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"a","description":"b"}]}'
check 'its details, of nobody' says 'detail: {"@type":"type.googleapis.com/far.Away","@value":"CgRob21l"}'
check 'scripted: details again' scripted "$shop" "$refused" "$away"
check 'details, as JSON' does 1 "${there[@]}" shop.Orders/Put --json
check 'they are a list' has '"details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":'\
'[{"field":"a","description":"b"}]},{"@type":"type.googleapis.com/far.Away","where":"home"}]'
check 'scripted: details that are none' scripted "$shop" '{"status": 3, "text": "no", "details": "1a05ff"}'
check 'details that are none' fails 1 'detail: the details are not a google.rpc.Status' "${there[@]}" shop.Orders/Put

# ---- reflection that means harm

harm() { # WHAT WORDS REPLY...
    local what=$1 words=$2 replies='' reply
    shift 2
    for reply; do replies+="${replies:+, }$reply"; done
    check "scripted: $what" scripted "{\"replies\": [$replies]}"
    check "$what" fails 1 "$words" "${there[@]}" shop.Orders/Put
}
harm 'an answer that is none' 'what the server sends is not an answer of server reflection' '{"hex": "ffff"}'
harm 'an empty answer' 'what the server sends is not an answer of server reflection' '{"hex": ""}'
harm 'no descriptor' "the server's descriptor is not a FileDescriptorProto" '{"hex": "22030a01ff"}'
harm 'services for files' 'the server answers with its services, and not with files' '{"hex": "3200"}'
harm 'an error of its own' 'server reflection: not here' '{"error": 13}'
harm 'an import that is not there' 'a.proto imports b.proto, which is not there' \
    '{"hex": "22140a120a07612e70726f746f1a07622e70726f746f"}' '{"error": 5}'
harm 'imports in a circle' 'the imports go round in a circle' \
    '{"hex": "22140a120a07612e70726f746f1a07622e70726f746f"}' '{"hex": "22140a120a07622e70726f746f1a07612e70726f746f"}'
check 'scripted: another file' scripted "$away"
check 'a file without the name' fails 5 'the server has no shop.Orders' "${there[@]}" shop.Orders/Put
check 'scripted: a message that is none' scripted "$shop" "$(ok 'ffffff')"
check 'a message that is none' fails 1 'what came is not a shop.Order' "${there[@]}" shop.Orders/Put
results
