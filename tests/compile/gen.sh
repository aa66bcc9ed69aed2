#!/usr/bin/env bash
# The block of generated code in ensign.h is what proto/ gives, and has the constants that somebody names. So are
# the messages of ensignd's own service, and its descriptors.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
check 'tools/gen --check: the generated blocks and the descriptors are up to date' tools/gen --check

{ cat ensign.h && echo 'enum { more = ENSI_PB_COMPRESSION_LEVEL_TAG };'; } >"$dir/more.h"
finds 'a constant that is named and not there is told' 'ENSI_PB_COMPRESSION_LEVEL_TAG = 2' \
    tools/gen --check --header "$dir/more.h"

sed '/^\/\/ END GENERATED/i enum { ENSI_PB_COMPRESSION_LEVEL_TAG = 2 };' ensign.h >"$dir/less.h"
finds 'a constant that nobody names any more is told' '-enum { ENSI_PB_COMPRESSION_LEVEL_TAG = 2' \
    tools/gen --check --header "$dir/less.h"

mkdir -p "$dir/tree/tools" && cp -r ensign.h proto "$dir/tree" && cp -r tools/gen tools/common tools/ensign* "$dir/tree/tools"
sed -i 's/HealthCheckRequest/HealthAsked/' "$dir/tree/proto/grpc/health/v1/health.proto"
finds 'descriptors of another proto/ are told' '+    { "grpc.health.v1.HealthAsked", SYMBOL_MESSAGE' \
    "$dir/tree/tools/gen" --check
sed -i '/repeated GroupTopic/s/topics/places/' "$dir/tree/proto/ensignd/v1/groups.proto"
sed -i 's/Group.topics/Group.places/' "$dir/tree/proto/ensignd/v1/groups.options"
finds 'messages of another proto/ensignd/ are told' 'what is generated in '"$dir/tree"'/tools/common/group_messages.h is out of' \
    "$dir/tree/tools/gen" --check
rm "$dir/tree/tools/ensignd/descriptors.c"
finds 'descriptors that are missing are told' 'tools/ensignd/descriptors.c is out of date' \
    "$dir/tree/tools/gen" --check
results
